"""`load(memory=...)`: the same text from less memory, and what a disk does to a running engine."""

import errno
import os
import random

import mlx.core as mx
import pytest

import mlx_deepseek as ds
from mlx_deepseek.checkpoint.room import model_memory, require_room
from mlx_deepseek.commands.terminal import summary
from mlx_deepseek.errors import CheckpointError, ConfigError, MemoryLimitError
from mlx_deepseek.models.expert_memory import moe_layers
from mlx_deepseek.runtime import memory
from tests.breadth import examples

QUESTIONS = ("What is 347 + 586?", "Sort: pear, fig, apple.")
SETTINGS = {"temperature": 0.7, "top_p": 0.9, "seed": 11, "max_tokens": 40}


@pytest.fixture(autouse=True)
def _no_others(monkeypatch):
    """What other tests' models take does not count."""
    monkeypatch.setattr(mx, "get_active_memory", lambda: 0)


def limit(folder, share: float, item_bytes: int | None = None) -> int:
    """A memory in which this share of the experts fits."""
    found, context = model_memory(folder, item_bytes)
    experts = found.nbytes - found.dense_bytes
    return int((found.dense_bytes + context + share * experts) * 8 / 7) + 1000


@pytest.fixture(scope="module")
def resident():
    return ds.load("nano")


@pytest.fixture(scope="module")
def texts(resident):
    return [resident.generate(question, **SETTINGS).text for question in QUESTIONS]


@pytest.fixture(scope="module", params=[0.3, 0.7])
def streamed(resident, request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx, "get_active_memory", lambda: 0)
        return ds.load("nano", memory=limit(resident.folder, request.param))


def test_the_text_is_the_same(streamed, texts):
    assert streamed.traffic is not None
    assert [streamed.generate(question, **SETTINGS).text for question in QUESTIONS] == texts
    seen = streamed.traffic
    assert 0 < seen.hit_rate < 1
    assert seen.read_bytes > 0
    assert seen.wait_s > 0


def test_an_answer_says_what_it_cost(streamed, resident):
    usage = streamed.generate(QUESTIONS[0], **SETTINGS).usage
    assert 0 < usage.expert_hit_rate < 1
    assert usage.disk_bytes_per_token > 0
    assert 0 < usage.waiting_share <= 1
    line = summary(usage, streamed.context_length)
    assert "of the experts found in memory" in line
    usage = resident.generate(QUESTIONS[0], **SETTINGS).usage
    assert usage.expert_hit_rate is None
    assert "experts" not in summary(usage, resident.context_length)


@pytest.mark.parametrize(
    "caching", [ds.Caching(bits=8), ds.Caching(speculate=0), ds.Caching(speculate=2)]
)
def test_with_quantized_caches_and_drafts(resident, caching, monkeypatch):
    size = limit(resident.folder, 0.4)
    engines = [ds.load("nano", caching=caching), ds.load("nano", caching=caching, memory=size)]
    answers = [[e.generate(q, **SETTINGS).text for q in QUESTIONS] for e in engines]
    assert answers[0] == answers[1]


def test_in_a_data_type(resident, texts):
    """An MLX checkpoint (a release's experts lie apart); as many fit as such numbers take."""
    folder, size = resident.folder, limit(resident.folder, 0.4, 4)
    engine = ds.load(folder, dtype="float32", memory=size)
    assert engine.traffic is not None
    assert engine.generate(QUESTIONS[1], **SETTINGS).text == texts[1]
    held = {path: one.switch_mlp.in_memory for path, one in moe_layers(engine.model).items()}
    assert held == dict(require_room(folder, limit=size, item_bytes=4).capacities)
    assert not require_room(folder, limit=size, item_bytes=2).capacities  # all of them fit


def test_in_batches_and_from_a_cached_prefix(streamed, resident):
    asked = [*QUESTIONS, "What is 12 + 7?"]
    want = [one.text for one in resident.batch(asked, **SETTINGS)]
    for _ in range(2):
        assert [one.text for one in streamed.batch(asked, **SETTINGS)] == want


def test_by_itself_when_a_model_does_not_fit(resident, texts, monkeypatch):
    size = limit(resident.folder, 0.5)
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: size)
    engine = ds.load("nano")
    assert engine.traffic is not None
    assert engine.generate(QUESTIONS[0], **SETTINGS).text == texts[0]


def test_an_engine_that_makes_room_in_time_leaves_all_in_memory(resident, monkeypatch):
    """What is closed when the load is announced does not push experts out of memory."""
    held = [10**9]
    monkeypatch.setattr(mx, "get_active_memory", lambda: held[0])
    size = 10**9 + limit(resident.folder, 0.5)
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: size)

    def let_go(stage, done, total):
        if stage == "load":
            held[0] = 0

    assert ds.load("nano", progress=let_go).traffic is None
    held[0] = int(size * 7 / 8) - limit(resident.folder, 0.5) * 7 // 8
    assert ds.load("nano").traffic is not None


def test_all_in_memory_where_it_fits(resident):
    assert resident.traffic is None
    assert ds.load("nano", memory="4GB").traffic is None


@pytest.mark.parametrize("size", ["48", "much", 0, -1, True, 1.5])
def test_what_is_no_size(size):
    with pytest.raises(ConfigError, match=r"48GB|no size"):
        ds.load("nano", memory=size)


def test_too_little_says_how_much_it_takes(resident):
    with pytest.raises(MemoryLimitError, match=r"with routed experts on disk. Expected at most"):
        ds.load("nano", memory="1MB")


def test_the_weights_stay_within_the_limit(resident):
    for share in (0.3, 0.4, 0.5):
        size = limit(resident.folder, share)
        room = require_room(resident.folder, limit=size)
        found, context = model_memory(resident.folder)
        assert found.least_bytes <= room.nbytes <= size * 7 / 8 - context
        one_more = {path: count + 1 for path, count in room.capacities.items()}
        assert found.held(one_more) > size * 7 / 8 - context


class Disk:
    """`os.preadv` with faults: it fails, ends early, or returns one byte at a time."""

    def __init__(self, seed: int):
        self.real, self.random = os.preadv, random.Random(seed)
        self.fault, self.countdown = "", 0

    def __call__(self, descriptor, buffers, offset):
        self.countdown -= 1
        if self.fault and self.countdown <= 0:
            if self.fault == "short":
                return self.real(descriptor, [buffers[0][: self.random.randint(1, 99)]], offset)
            if self.fault == "end":
                return 0
            code = {"io": errno.EIO, "gone": errno.ENODEV, "stale": errno.ESTALE}[self.fault]
            raise OSError(code, os.strerror(code))
        return self.real(descriptor, buffers, offset)


@pytest.mark.slow
def test_many_faults_no_wrong_token(resident, monkeypatch):
    """Each request gives the right text or an error with file and offset; the engine lives."""
    engine = ds.load("nano", memory=limit(resident.folder, 0.3))
    short = {**SETTINGS, "max_tokens": 8}
    texts = [resident.generate(question, **short).text for question in QUESTIONS]
    thoughts = [resident.generate(question, **short).reasoning for question in QUESTIONS]
    disk, errors = Disk(3), []
    monkeypatch.setattr(os, "preadv", disk)
    for number in range(count := examples(50)):
        disk.fault = ("short", "end", "io", "gone", "stale")[number % 5]
        disk.countdown = disk.random.randint(1, 200)
        asked = number % len(QUESTIONS)
        try:
            answer = engine.generate(QUESTIONS[asked], **short)
            assert (answer.text, answer.reasoning) == (texts[asked], thoughts[asked])
        except CheckpointError as error:
            errors.append(str(error))
        disk.fault = ""
        if number % 10 == 9:
            answer = engine.generate(QUESTIONS[0], **short)
            assert (answer.text, answer.reasoning) == (texts[0], thoughts[0])
    assert len(errors) > 0.4 * count
    assert all("safetensors: " in error and "at byte" in error for error in errors)


def test_a_file_that_is_written_to_ends_the_request(resident, tmp_path):
    import shutil

    folder = shutil.copytree(resident.folder, tmp_path / "nano")
    engine = ds.load(folder, memory=limit(folder, 0.3))
    file = next(folder.glob("*.safetensors"))
    os.utime(file, ns=(1, 1))
    with pytest.raises(CheckpointError, match="has changed since the model was loaded"):
        engine.generate(QUESTIONS[0], **SETTINGS)


def test_a_stream_may_be_closed_in_the_middle(streamed, texts):
    for chunk in streamed.stream(QUESTIONS[0], **SETTINGS):
        if chunk.text or chunk.reasoning:
            break
    assert streamed.generate(QUESTIONS[0], **SETTINGS).text == texts[0]
