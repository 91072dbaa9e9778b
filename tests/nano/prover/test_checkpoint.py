"""The nano-prover that is shipped: its files, and what it proves."""

import json

import pytest

import mlx_deepseek as ds
from mlx_deepseek.catalog.embedded import NANO_PROVER, checkpoint_path
from mlx_deepseek.nano.prover.config import prover_config
from mlx_deepseek.nano.prover.families import held_out
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.statement import read_theorem

FOLDER = checkpoint_path(NANO_PROVER)
PROVED = {"witness": 4, "recursion": 0, "generalised": 0, "chain": 1, "cases": 4}


@pytest.fixture(scope="module")
def engine():
    with ds.load(NANO_PROVER) as engine:
        yield engine


def test_it_is_small_and_says_what_it_is(engine):
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 8 << 20
    assert json.loads((FOLDER / "config.json").read_text()) == prover_config()
    assert engine.prompt_format.id == "prover_v15"


@pytest.mark.parametrize("family", PROVED)
def test_it_proves_statements_that_it_has_not_seen(engine, lean: Lean, family):
    one = held_out(family, PROVED[family] + 1)[-1]
    proof = engine.prove(
        read_theorem(one.context + one.statement),
        lean=lean,
        portfolio=False,
        attempts=8,
        seed=0,
        memory_bytes=2 << 30,
    )
    assert proof.accepted
