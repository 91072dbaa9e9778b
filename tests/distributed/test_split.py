"""A model on several processes writes what it writes in one: layers are split, or heads."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlx_deepseek.models.sizes import count
from tests.breadth import wide
from tests.distributed.rank0 import GREEDY, PROMPTS, QUESTION, SEEDED, V4, load
from tests.waiting import wait_until

CASES = ["deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_moe_16b", "r1_distill_qwen"]


@pytest.mark.parametrize("case", [*CASES, *V4])
def test_two_share_the_layers(two, alone, goldens_root, case):
    layers = load(two, goldens_root, case)
    assert layers[-1] == "Elsewhere"
    assert 1 < len(layers) <= len(alone.engine(case).model.layers)
    for sampling in (GREEDY, SEEDED):
        found = two("tokens", prompts=PROMPTS, count=8, sampling=sampling)
        assert found == alone(case, sampling)
    found = np.array(two("logits", ids=PROMPTS[2]), np.float32)
    want = np.array(alone.engine(case).logits(PROMPTS[2]))
    assert np.array_equal(found, want), "the same numbers, bit for bit"


@pytest.mark.parametrize("case", [*CASES, "deepseek_v4_fp4", "deepseek_v41", *wide(*V4[:2])])
def test_two_share_every_layer(two, alone, goldens_root, case):
    """Sums come in another order: the same tokens, and logits within 1e-4."""
    layers = load(two, goldens_root, case, split="tensor")
    assert layers[0] == "Elsewhere"
    assert layers[-1] == "Computed"
    for sampling in (GREEDY, SEEDED):
        found = two("tokens", prompts=PROMPTS, count=8, sampling=sampling)
        assert found == alone(case, sampling)
    found = np.array(two("logits", ids=PROMPTS[2]), np.float32)
    want = np.array(alone.engine(case).logits(PROMPTS[2]))
    assert np.abs(found - want).max() / want.std() < 1e-4


THREE = ["deepseek_v3", "deepseek_v41", *wide("r1_distill_qwen", *V4[:-1])]


@pytest.mark.parametrize("case", THREE)
def test_three_share_the_layers(three, alone, goldens_root, case):
    assert len(load(three, goldens_root, case)) < len(alone.engine(case).model.layers)
    found = three("tokens", prompts=PROMPTS, count=8, sampling=GREEDY)
    assert found == alone(case, GREEDY)
    if case in V4:  # what drafters read comes past the second
        found = three("tokens", prompts=PROMPTS[:1], count=16, sampling=GREEDY)
        assert found == alone(case, GREEDY, PROMPTS[:1], 16, speculate=0)
        assert three("drafts")


@pytest.mark.parametrize(
    ("case", "split"),
    [
        ("deepseek_v3", "pipeline"),
        ("deepseek_v3", "tensor"),
        ("deepseek_v4_fp4", "pipeline"),
        ("deepseek_v4_fp4", "tensor"),
        *wide(("deepseek_v41", "tensor")),
        *wide(*((one, "pipeline") for one in V4 if one != "deepseek_v4_fp4")),
    ],
)
def test_drafts(two, alone, goldens_root, case, split):
    """A row alone is drafted for; what is written is what is written without."""
    want = alone(case, SEEDED, PROMPTS[:1], 16, speculate=0)
    load(two, goldens_root, case, split=split, caching={"speculate": 2})
    assert two("tokens", prompts=PROMPTS[:1], count=16, sampling=SEEDED) == want
    assert two("drafts")


@pytest.mark.parametrize("case", ["deepseek_v3", *wide("deepseek_v4_fp4")])
def test_an_answer_that_is_stopped_is_stopped_on_all(two, alone, goldens_root, case):
    """At once, and what all hold of it serves the next one."""
    load(two, goldens_root, case)
    for _ in range(2):
        two("begin", ids=PROMPTS[2])
        assert two("stop") == 0
    found = two("tokens", prompts=[[*PROMPTS[2], 5]], count=8, sampling=GREEDY)
    assert found == alone(case, GREEDY, [[*PROMPTS[2], 5]], speculate=0)
    assert two("cached")[0] >= len(PROMPTS[2]) - 1


@pytest.mark.parametrize("caching", [{"bits": 8}, {"speculate": 2}])
def test_nano_writes_the_same_text(two, three, alone, caching):
    want = alone.engine("nano", **caching).generate(QUESTION, temperature=0.0)
    for ring, split in ((two, "pipeline"), (two, "tensor"), (three, "pipeline")):
        ring("load", source="nano", split=split, caching=caching)
        found = ring("text", prompt=QUESTION, temperature=0.0)
        assert (found["text"], found["reasoning"]) == (want.text, want.reasoning)
        assert bool(found["drafted"])


@pytest.mark.parametrize("case", ["deepseek_v3", "deepseek_v4_fp4", *wide("deepseek_v41")])
def test_prompts_go_on_from_what_both_have(two, alone, goldens_root, tmp_path, case):
    """From blocks in memory, and after a new start from those on each one's disk."""
    caching = {"prefix_folder": str(tmp_path), "prefix_bytes": 4 << 20}
    long = [(17 * i) % 120 + 3 for i in range(300)]
    other = [[9, *long[:40]]]
    want = alone(case, GREEDY, [[*long, 5]], 6)
    load(two, goldens_root, case, caching=caching)
    for prompts in ([long], other, other):
        two("tokens", prompts=prompts, count=3, sampling=GREEDY)
    assert two("tokens", prompts=[[*long, 5]], count=6, sampling=GREEDY) == want
    assert two("cached")[0] >= 248
    load(two, goldens_root, case, caching=caching)
    assert two("tokens", prompts=[[*long, 5]], count=6, sampling=GREEDY) == want
    cached, source = two("cached")
    assert source == "blocks"
    assert 248 <= cached <= 256
    folders = {path.parent for path in tmp_path.rglob("*.safetensors")}
    assert len(folders) == 2, "each rank has blocks of its own layers"


@pytest.mark.parametrize("split", ["tensor", *wide("pipeline")])
def test_bench_counts_all_machines_and_links(two, alone, split):
    whole = count(alone.engine("nano").model).read_bytes
    found = two("bench", model="nano", prompt=8, tokens=4, repeats=2, split=split)
    assert found["machines"] == 2
    assert found["read_bytes_per_token"] >= whole
    assert found["link_s"] > 0
    assert found["fraction_of_limit"] > 0


def test_machines_are_checked_and_a_plan_is_shown(two):
    found = two("hosts", model="nano")
    first, second = found["machines"]
    assert first["versions"] == second["versions"]
    assert first["digest"] == second["digest"]
    assert first["usable_bytes"] == pytest.approx(3.5e9, rel=0.01)  # less what is loaded
    assert 0 < found["link"]["latency_s"] < 1
    assert found["link"]["bytes_per_s"] > 1e6
    parts = found["plan"]["parts"]
    assert [parts[0]["first"], parts[1]["last"]] == [0, 4]
    assert parts[0]["last"] == parts[1]["first"]
    assert 0 < found["plan"]["decode_tps"][0] <= found["plan"]["decode_tps"][1]
    text = json.dumps(found["rows"])
    for part in ("localhost (rank 1)", "GB for a model", "ms per message", "(forecast)"):
        assert part in text


@pytest.mark.skipif(sys.platform != "linux", reason="times of processes are read from /proc")
def test_processes_without_work_take_no_time(two, alone, goldens_root):
    """MLX's ring keeps a core busy where it waits; and after the pause, the text is the same."""
    load(two, goldens_root, "deepseek_v2")
    pids = [two.process.pid, *two("facts")["pids"]]
    wait_until(lambda: ticks(pids, 1.0) <= 5, 30)
    found = two("tokens", prompts=PROMPTS, count=8, sampling=GREEDY)
    assert found == alone("deepseek_v2", GREEDY)


def ticks(pids, seconds):
    """The processor time that processes take meanwhile, in hundredths of a second."""

    def taken():
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats)

    before = taken()
    time.sleep(seconds)
    return taken() - before
