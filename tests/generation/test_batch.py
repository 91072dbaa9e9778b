"""Rows of a batch get the tokens that they get alone, whenever they come and go."""

from dataclasses import replace
from itertools import pairwise

import mlx.core as mx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlx_deepseek import models
from mlx_deepseek.cache import padded_batch
from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.checkpoint.load import load_prepared, prepare
from mlx_deepseek.checkpoint.token_map import attach_token_map
from mlx_deepseek.errors import Busy
from mlx_deepseek.generation import prefill
from mlx_deepseek.generation.decode import OwnCaches, tokens
from mlx_deepseek.generation.drafting.dspark import DSparkDrafter
from mlx_deepseek.generation.drafting.mtp import MTPDrafter
from mlx_deepseek.generation.job import END, Generation, TokenSink
from mlx_deepseek.generation.no_repeat import NoRepeat
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.generation.scheduler import Scheduler
from mlx_deepseek.layers.latent_kv import SharedLatentKV
from mlx_deepseek_convert import weights
from tests.breadth import examples

TEXT = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64}
TEXT |= {"num_attention_heads": 2, "intermediate_size": 48, "rms_norm_eps": 1e-6}
GREEDY = Sampling(temperature=0.0)
GOLDENS = [
    "deepseek_coder_6p7b",
    "deepseek_llm_67b",
    "deepseek_llm_7b",
    "deepseek_moe_16b",
    "deepseek_ocr",
    "deepseek_ocr2",
    "deepseek_v2",
    "deepseek_v2_lite",
    "deepseek_v3",
    "deepseek_v32",
    "deepseek_v32_fp8",
    "deepseek_v3_fp8",
    "deepseek_v41",
    "deepseek_v4_fp4",
    "deepseek_v4_vision",
    "deepseek_vl2",
    "deepseek_vl2_small",
    "deepseek_vl2_tiny",
    "deepseek_vl_1p3b",
    "deepseek_vl_7b",
    "janus",
    "janus_pro",
    "janusflow",
    "r1_0528_qwen3",
    "r1_distill_llama",
    "r1_distill_qwen",
]
BLOCK_DRAFTERS = ("deepseek_v41", "deepseek_v4_vision")


@pytest.fixture(scope="module", params=["llama", "deepseek_moe_16b", "deepseek_v2_lite"])
def model(request, golden_config):
    """Tiny models with mlx-lm's attention, ours, and the latent one; experts in two of them."""
    mx.random.seed(3)
    config = TEXT if request.param == "llama" else golden_config(request.param)
    built = models.build(config)
    sharper = {"lm_head.weight": built.lm_head.weight * 40}  # no ties between tokens
    built.load_weights(list(sharper.items()), strict=False)
    mx.eval(built.parameters())
    return built


def requests(lengths, max_tokens=12, stop_ids=(), **sampling):
    chosen = Sampling(**{"temperature": 0.0} | sampling)
    return [
        Request(
            [(7 * i + 3 * j) % 60 + 1 for j in range(length)],
            max_tokens,
            chosen,
            frozenset(stop_ids),
        )
        for i, length in enumerate(lengths)
    ]


def alone(model, request, **options):
    steps = tokens(model, request, PromptCache(model, **options))
    return [step.token for step in steps if step.token is not None]


def taken(job) -> tuple[list[int], bool]:
    """The tokens of a job so far, and whether it has ended."""
    items = [item for _, item in job.mailbox.items]
    if job.error is not None:
        raise job.error
    found = [item.token for item in items if hasattr(item, "token") and item.token is not None]
    return found, END in items


def together(model, wanted, streams=16, later=None, **options):
    """What requests get that come all at once; or some after so many steps, by their numbers."""
    scheduler = Scheduler(model, OwnCaches(model), streams=streams)
    jobs = [Generation(one, TokenSink(), PromptCache(model, **options)) for one in wanted]
    later = later or {}
    for step in range(100_000):
        for number, job in enumerate(jobs):
            if later.get(number, 0) == step:
                scheduler.submit(job)
        scheduler.tick()
        if all(job.state == "done" for job in jobs):
            return [taken(job)[0] for job in jobs]
    raise AssertionError("it does not end")


@pytest.mark.parametrize("streams", [1, 2, 3, 9])
def test_equal_to_alone(model, streams):
    wanted = requests([5, 17, 1, 9, 30])
    assert together(model, wanted, streams) == [alone(model, request) for request in wanted]


@pytest.mark.parametrize("bits", [8, 4])
def test_quantized_rows(goldens_root, golden_config, bits):
    for name in ("nano", "r1_distill_llama"):
        built = sharp(name, goldens_root, golden_config)
        wanted = requests([5, 17, 1, 9, 30])
        expected = [alone(built, request, bits=bits) for request in wanted]
        assert together(built, wanted, bits=bits) == expected


def test_rows_that_end_at_different_times(model):
    wanted = requests([5, 17, 2, 9, 30])
    stop = alone(model, wanted[1])[4]  # ends the second after at most five tokens
    wanted = requests([5, 17, 2, 9, 30], stop_ids=[stop])
    expected = [alone(model, request) for request in wanted]
    assert len(expected[1]) <= 5
    assert together(model, wanted, 3) == expected


def sharp(name, goldens_root, golden_config):
    """A golden's model, its head so sharp that rounding decides nothing."""
    if name == "nano":
        return load_prepared(prepare("nano")).model
    built = models.build(golden_config(name))
    built.load_weights(list(weights(goldens_root / name, "float32")), strict=True)
    attach_token_map(built, goldens_root / name)
    text = built if "lm_head" in built else built.language
    text.lm_head.weight = text.lm_head.weight * 40
    mx.eval(built.parameters())
    return built


@pytest.mark.parametrize("name", [*GOLDENS, "nano"])
def test_every_architecture(name, goldens_root, golden_config):
    """Rows that join and leave at any step, greedy and seeded, drafting between times."""
    model = sharp(name, goldens_root, golden_config)
    kind = DSparkDrafter if name in BLOCK_DRAFTERS else MTPDrafter
    drafter = kind(model, 2) if "mtp" in model else None

    @settings(
        max_examples=examples(3),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(
        rows=st.lists(
            st.tuples(
                st.integers(1, 40),  # the prompt's length
                st.integers(1, 14),  # most tokens
                st.integers(0, 20),  # the step at which it comes
                st.one_of(st.none(), st.integers(0, 1 << 60)),  # the seed; greedy
                st.booleans(),  # penalties
            ),
            min_size=2,
            max_size=5,
        )
    )
    def check(rows):
        wanted = []
        for number, (length, most, _, seed, penalty) in enumerate(rows):
            hot = {} if seed is None else {"temperature": 1.0, "top_p": 0.9, "seed": seed}
            cold = {"repetition_penalty": 1.2} if penalty else {}
            one = requests([length], most, **hot, **cold)[0]
            wanted.append(replace(one, ids=[(t + number) % 60 + 1 for t in one.ids]))
        later = {number: row[2] for number, row in enumerate(rows)}
        expected = [alone(model, request) for request in wanted]
        assert together(model, wanted, later=later, drafter=drafter) == expected

    check()


def test_processors_for_all_rows(model):
    rule = NoRepeat(size=2, window=40)

    def repeats(rows):
        pairs = [list(pairwise(row)) for row in rows]
        return sum(len(found) - len(set(found)) for found in pairs)

    wanted = requests([5, 17, 9], max_tokens=40)
    guarded = [replace(request, guard=rule) for request in wanted]
    written = together(model, guarded, 2)
    assert [alone(model, request) for request in guarded] == written
    assert repeats(written) == 0 < repeats(together(model, wanted, 2))


def test_processors_see_the_row(model):
    plain, other = requests([5, 9], repetition_penalty=1.5)
    assert together(model, [plain, other]) == [alone(model, plain), alone(model, other)]


def test_logprobs_are_those_of_the_row(model):
    wanted = [replace(request, logprobs=2) for request in requests([4, 21])]
    scheduler = Scheduler(model, OwnCaches(model))
    jobs = [Generation(request, TokenSink()) for request in wanted]
    for job in jobs:
        scheduler.submit(job)
    while any(job.state != "done" for job in jobs):
        scheduler.tick()
    for job, request in zip(jobs, wanted, strict=True):
        both = [item.logprobs for _, item in job.mailbox.items if getattr(item, "token", None)]
        single = [s.logprobs for s in tokens(model, request, PromptCache(model)) if s.token]
        for ours, theirs in zip(both, single, strict=True):
            assert [t for t, _ in ours] == [t for t, _ in theirs]
            pairs = zip(ours, theirs, strict=True)
            assert max(abs(a - b) for (_, a), (_, b) in pairs) < 1e-3


def test_what_one_request_breaks_ends_it_alone(model):
    def broken(ids, logits):
        raise RuntimeError("out of order" if ids.size else "at once")

    good, bad, worse = requests([5, 9, 7])
    bad = replace(bad, sampling=Sampling(temperature=0.0, processors=[broken]))
    worse = replace(worse, sampling=Sampling(sampler=lambda logprobs: broken(logprobs, None)))
    scheduler = Scheduler(model, OwnCaches(model))
    jobs = [Generation(request, TokenSink()) for request in (good, bad, worse)]
    for job in jobs:
        scheduler.submit(job)
    while any(job.state != "done" for job in jobs):
        scheduler.tick()
    assert taken(jobs[0])[0] == alone(model, good)
    assert str(jobs[1].error) == "at once"
    assert isinstance(jobs[2].error, RuntimeError)
    assert scheduler.counts.failed == 2


def test_a_prompt_is_read_while_others_write(model, monkeypatch):
    monkeypatch.setattr(prefill, "CHUNK_CPU", 8)
    short, long = requests([4, 400], max_tokens=30)
    scheduler = Scheduler(model, OwnCaches(model))
    first, second = (Generation(request, TokenSink()) for request in (short, long))
    scheduler.submit(first)
    scheduler.tick()
    scheduler.submit(second)
    counts = []
    while first.state != "done":
        scheduler.tick()
        counts.append((len(taken(first)[0]), second.read_tokens))
    assert all(b[0] - a[0] <= 1 and 0 <= b[1] - a[1] <= 8 for a, b in pairwise(counts))
    assert counts[0][1] < counts[-1][1] < 399  # both went on all the time
    assert taken(first)[0] == alone(model, short)


def test_short_prompts_that_come_at_once_are_written_in_one_batch(model, monkeypatch):
    monkeypatch.setattr(prefill, "CHUNK_CPU", 16)
    lengths = [8] * 7 + [100]  # two at a time; the long one is read beside those who write
    wanted = requests(lengths, max_tokens=20)
    scheduler = Scheduler(model, OwnCaches(model))
    jobs = [Generation(request, TokenSink()) for request in wanted]
    for job in jobs:
        scheduler.submit(job)
    written = [0] * 8
    while not any(written):
        scheduler.tick()
        written = [len(taken(job)[0]) for job in jobs]
    assert written == [1] * 7 + [0]
    while any(job.state != "done" for job in jobs):
        scheduler.tick()
    assert [taken(job)[0] for job in jobs] == [alone(model, request) for request in wanted]


def test_a_cancelled_row_leaves_within_a_step(model):
    wanted = requests([5, 17, 9], max_tokens=40)
    scheduler = Scheduler(model, OwnCaches(model))
    jobs = [Generation(request, TokenSink()) for request in wanted]
    for job in jobs:
        scheduler.submit(job)
    for _ in range(6):
        scheduler.tick()
    jobs[1].cancelled = True
    before = len(taken(jobs[1])[0])
    scheduler.tick()
    assert jobs[1].state == "done"
    assert len(taken(jobs[1])[0]) == before
    while any(job.state != "done" for job in jobs):
        scheduler.tick()
    assert taken(jobs[0])[0] == alone(model, wanted[0])
    assert taken(jobs[2])[0] == alone(model, wanted[2])
    assert scheduler.counts.cancelled == 1


def test_the_queue_is_bounded_and_in_order(model):
    scheduler = Scheduler(model, OwnCaches(model), streams=2, queue=3)
    jobs = [Generation(one, TokenSink()) for one in requests([3] * 4, max_tokens=3)]
    for job in jobs[:3]:
        scheduler.submit(job)
    with pytest.raises(Busy, match="3 requests wait") as caught:
        scheduler.submit(jobs[3])
    assert caught.value.retry_after_s >= 1
    ends = []
    while len(ends) < 3:
        scheduler.tick()
        ends += [job for job in jobs[:3] if job.state == "done" and job not in ends]
    assert ends == jobs[:3]
    assert scheduler.counts.refused == 1


def test_a_shared_beginning_is_read_once(model, monkeypatch):
    monkeypatch.setattr(prefill, "CHUNK_CPU", 32)
    seen = []
    wanted = requests([200] * 5, max_tokens=4)
    prefix = wanted[0].ids[:150]
    wanted = [replace(one, ids=[*prefix, *one.ids[150:]]) for one in wanted]
    expected = [alone(model, one) for one in wanted]
    scheduler = Scheduler(Counting(model, seen), OwnCaches(model))
    jobs = [Generation(one, TokenSink(), PromptCache(model)) for one in wanted]
    for job in jobs[:4]:
        scheduler.submit(job)
    for _ in range(12):
        scheduler.tick()
    scheduler.submit(jobs[4])  # the others write already
    while any(job.state != "done" for job in jobs):
        scheduler.tick()
    assert [taken(job)[0] for job in jobs] == expected
    read = sum(size for rows, size in seen if size > 1)
    assert read <= 150 + 5 * 50
    assert scheduler.counts.cached_tokens >= 4 * 149


@pytest.mark.parametrize(("name", "bits"), [("deepseek_v2_lite", None), ("nano", 8)])
def test_a_shared_beginning_is_kept_once(goldens_root, golden_config, monkeypatch, name, bits):
    """Rows come and go; then some that have less in common, and one that begins otherwise."""
    model = sharp(name, goldens_root, golden_config)
    monkeypatch.setattr(padded_batch, "WORTH_SHARING", 16)
    held = set()
    scores = SharedLatentKV.scores

    def noted(rows, queries, scale):
        held.add((rows.prefix.length, queries[0].shape[0]))
        return scores(rows, queries, scale)

    monkeypatch.setattr(SharedLatentKV, "scores", noted)
    wanted = requests([40, 45, 31, 60, 33, 50], max_tokens=12)
    wanted = [
        replace(one, ids=[*wanted[0].ids[:30], *one.ids[30:]], max_tokens=5 + 3 * i)
        for i, one in enumerate(wanted)
    ]
    wanted[5] = replace(wanted[5], ids=[*wanted[5].ids[:20], 63, *wanted[5].ids[21:]])
    wanted.append(replace(wanted[4], ids=[62, *wanted[4].ids[1:]]))
    expected = [alone(model, one, bits=bits) for one in wanted]
    later = {3: 4, 4: 4, 5: 7, 6: 10}
    assert together(model, wanted, later=later, bits=bits) == expected
    assert {length for length, _ in held} >= {29, 20}
    assert max(rows for _, rows in held) >= 4


class Counting:
    """A model that notes how many tokens it is given."""

    def __init__(self, model, seen):
        self.model, self.seen = model, seen

    def modules(self):
        return self.model.modules()

    def __call__(self, ids, **options):
        self.seen.append(ids.shape)
        return self.model(ids, **options)


def test_short_prompts_are_read_together(model):
    wanted = [
        replace(one, ids=[(t * (i + 2)) % 60 + 1 for t in one.ids])
        for i, one in enumerate(requests([30, 30, 30, 20, 200, 30], max_tokens=5))
    ]
    seen = []
    scheduler = Scheduler(Counting(model, seen), OwnCaches(model))
    jobs = [Generation(one, TokenSink()) for one in wanted]
    for job in jobs:
        scheduler.submit(job)
    while any(job.state != "done" for job in jobs):
        scheduler.tick()
    assert [taken(job)[0] for job in jobs] == [alone(model, one) for one in wanted]
    read = [shape for shape in seen if shape[1] > 1]
    assert read[0] == (6, 19)
    assert len(read) <= 5
    assert sum(rows * size for rows, size in read) == sum(len(one.ids) - 1 for one in wanted)


def test_one_prompt_many_answers_is_read_once(model):
    (one,) = requests([40], max_tokens=5)
    wanted = [replace(one, sampling=Sampling(temperature=2.0, seed=seed)) for seed in range(6)]
    seen = []
    scheduler = Scheduler(Counting(model, seen), OwnCaches(model))
    jobs = [Generation(one, TokenSink(), PromptCache(model)) for one in wanted]
    for job in jobs:
        scheduler.submit(job)
    while any(job.state != "done" for job in jobs):
        scheduler.tick()
    assert [taken(job)[0] for job in jobs] == [alone(model, one) for one in wanted]
    assert sum(size for rows, size in seen if size > 1) == 39


def test_reasons(model):
    (request,) = requests([5], max_tokens=3)
    scheduler = Scheduler(model, OwnCaches(model))
    job = Generation(request, TokenSink())
    scheduler.submit(job)
    while job.state != "done":
        scheduler.tick()
    *_, reason, end = [item for _, item in job.mailbox.items]
    assert (reason, end) == ("length", END)
    (request,) = requests([5], stop_ids=taken(job)[0][:1])
    job = Generation(request, TokenSink())
    scheduler.submit(job)
    while job.state != "done":
        scheduler.tick()
    assert job.mailbox.items[-2][1] == "stop"
    assert len(taken(job)[0]) == 1


def test_prompts_wait_for_room(model):
    scheduler = Scheduler(model, OwnCaches(model), streams=2)
    jobs = [Generation(one, TokenSink()) for one in requests([3, 4, 5], max_tokens=4)]
    for job in jobs:
        scheduler.submit(job)
    scheduler.tick()
    assert [job.state for job in jobs][2] == "waiting"
    while jobs[0].state != "done":
        scheduler.tick()
    scheduler.tick()
    assert jobs[2].state != "waiting"


class Bounded(OwnCaches):
    """Room for so many tokens, of which all caches that were made hold some."""

    def __init__(self, model, tokens):
        super().__init__(model)
        self.tokens, self.live = tokens, []

    def take(self, ids, wanted):
        self.live.append(super().take(ids, wanted))
        return self.live[-1]

    def give_back(self, cache):
        self.live.remove(cache)

    def free_tokens(self):
        return self.tokens - sum(len(cache.ids) for cache in self.live)


def test_requests_wait_for_memory(model):
    wanted = requests([10, 20, 90, 5, 400], max_tokens=10)
    caches = Bounded(model, 140)
    scheduler = Scheduler(model, caches)
    jobs = [Generation(one, TokenSink()) for one in wanted]
    for job in jobs:
        scheduler.submit(job)
    most, began = 0, []
    while any(job.state != "done" for job in jobs):
        scheduler.tick()
        began += [n for n, job in enumerate(jobs) if job.state != "waiting" and n not in began]
        if jobs[4].state == "waiting":
            most = max(most, sum(len(cache.ids) for cache in caches.live))
    assert [taken(job)[0] for job in jobs] == [alone(model, one) for one in wanted]
    assert began == [0, 1, 2, 3, 4]  # the last is too long, and runs alone
    assert most <= 140
