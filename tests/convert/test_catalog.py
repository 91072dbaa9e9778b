"""Every checkpoint of the catalog that we know: its real config, five laws, its parameter count.

`pytest -s tests/convert/test_catalog.py` prints the table that docs/catalog-check.md holds.
"""

import json
import math
from functools import cache
from pathlib import Path
from time import process_time
from typing import NamedTuple

import pytest

from mlx_deepseek import catalog, models
from mlx_deepseek.models.config_reader import INERT_KEYS
from mlx_deepseek_convert.planning.plan import Plan, make_plan
from mlx_deepseek_convert.source.checkpoint import Source
from tests.convert.published import PUBLISHED, Published
from tests.convert.released import released_source

TABLE = Path(__file__).parents[2] / "docs" / "catalog-check.md"
LIMIT = 0.005
ENTRIES = {entry.name: entry for entry in catalog.entries() if models.known(entry.config)}
FIGURES = {"B": 1e9}

HEAD = """# Catalog check

Each released checkpoint: the names, shapes and dtypes that its repository stores are computed
from its config.json, and planned with the weight map. All five laws hold where a row exists:
every tensor is claimed by exactly one rule, every rule claims something, expert numbers have no
gap, targets are exactly the model's parameters, and every shape agrees. No weights were read.

*Parameters* are the model's, without MTP. *Stored* counts everything in the files, MTP layers, FP8
scales and parts of encoders that nobody uses too, and equals the exact published count where there
is one. Write this file again with
`python -m tests.convert.test_catalog`.

| checkpoint | architecture | tensors | laws | parameters | published | difference | stored | \
published, exact | note |
|---|---|---:|---|---:|---:|---:|---:|---|---|
"""


def stored_elements(source: Source) -> int:
    """Numbers in the files: parameters and FP8 scales."""
    scales = [s for tensor in source.tensors.values() for s in tensor.parts[1:]]
    weights = sum(math.prod(tensor.shape) for tensor in source.tensors.values())
    return weights + sum(math.prod(scale.shape) for scale in scales)


def main_parameters(plan: Plan) -> int:
    """The model's parameters without MTP layers."""
    outputs = plan.outputs
    return sum(math.prod(o.shape) for o in outputs if not o.name.startswith("mtp."))


def difference(computed: int, published: Published) -> float:
    """Relative to the publisher's round figure."""
    return computed / (float(published.name[:-1]) * FIGURES[published.name[-1]]) - 1


class Checked(NamedTuple):
    """What a plan says of a checkpoint."""

    tensors: int
    parameters: int
    stored: int


def check(name: str) -> Checked:
    """Plan a checkpoint, which raises where a law is broken, and count."""
    config = {key: v for key, v in ENTRIES[name].config.items() if key not in INERT_KEYS}
    kept = ("model_type", "quantization_config", "max_position_embeddings", "sliding_window")
    config |= {key: ENTRIES[name].config[key] for key in kept if key in ENTRIES[name].config}
    return check_shape(json.dumps(config, sort_keys=True))


@cache
def check_shape(config: str) -> Checked:
    """The check of every checkpoint with this config: a family's differ in inert keys alone."""
    source = released_source(json.loads(config))
    plan = make_plan(source, "4bit")
    return Checked(source.stored, main_parameters(plan), stored_elements(source))


def row(name: str) -> str:
    published, checked = PUBLISHED[name], check(name)
    architecture = models.architecture(ENTRIES[name].config)
    exact = f"= {published.how}" if published.stored == checked.stored else "not known"
    return (
        f"| {name} | {architecture} | {checked.tensors:,} | 5 of 5 | "
        f"{checked.parameters:,} | {published.name} | "
        f"{difference(checked.parameters, published):+.2%} | {checked.stored:,} | {exact} | "
        f"{published.note} |\n"
    )


def table() -> str:
    return HEAD + "".join(row(name) for name in ENTRIES)


@pytest.fixture(scope="module")
def written() -> list[str]:
    return TABLE.read_text(encoding="utf-8").splitlines()


def test_every_checkpoint_is_checked():
    assert ENTRIES.keys() == PUBLISHED.keys()
    assert len(ENTRIES) == 82


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_whole_config_is_understood(name):
    assert models.build(ENTRIES[name].config) is not None


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_plan_and_parameters(name, written):
    published, checked = PUBLISHED[name], check(name)
    if published.tensors is not None:
        assert checked.tensors == published.tensors
    elif published.stored is not None:
        assert checked.stored == published.stored
    else:
        digits = len(published.name.partition(".")[2].rstrip("B"))
        counts = checked.parameters, checked.stored
        assert published.name in [f"{count / 1e9:.{digits}f}B" for count in counts]
    assert abs(difference(checked.parameters, published)) <= LIMIT or published.note
    line = row(name)
    print("\n" + line, end="")
    assert line.rstrip("\n") in written, f"run python -m {__name__} to write the table again"


def test_the_largest_in_numbers():
    source = released_source(ENTRIES["DeepSeek-R1"].config)
    assert source.stored == 91_991
    kinds = {"F8_E4M3": 0, "BF16": 0, "F32": 0}
    for tensor in source.tensors.values():
        for info in filter(None, (tensor.info, tensor.scale)):
            kinds[info.dtype] += math.prod(info.shape)
    # As the Hugging Face API counts the repository.
    assert kinds == {"F8_E4M3": 680_571_043_840, "BF16": 3_918_786_560, "F32": 41_555_600}
    began = process_time()
    plan = make_plan(source, "4bit")
    assert process_time() - began < 10
    assert main_parameters(plan) == 671_026_419_200
    assert plan.parameters == 684_489_845_504
    assert 4.5 < plan.bits_per_weight < 4.7


def test_sparse_attention_in_numbers():
    source = released_source(ENTRIES["DeepSeek-V3.2"].config)
    assert source.stored == 92_425
    kinds = {"F8_E4M3": 0, "BF16": 0, "F32": 0}
    for tensor in source.tensors.values():
        for info in filter(None, (tensor.info, tensor.scale)):
            kinds[info.dtype] += math.prod(info.shape)
    # As the headers of the 163 files add up.
    assert kinds == {"F8_E4M3": 681_408_069_632, "BF16": 3_946_184_704, "F32": 42_667_040}
    plan = make_plan(source, "4bit")
    assert plan.bytes_in == 689_471_107_200
    assert main_parameters(plan) == 671_877_944_064
    stored = {output.name: output for output in plan.outputs}
    for layer in ("model.layers.0", "model.layers.60", "mtp.0"):
        indexer = f"{layer}.self_attn.indexer."
        for name, bits in (("wq_b", 8), ("wk", 8), ("weights_proj", None), ("k_norm", None)):
            setting = stored[f"{indexer}{name}.weight"].setting
            assert (setting.bits if setting else None) == bits


if __name__ == "__main__":
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(), encoding="utf-8")
