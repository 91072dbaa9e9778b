"""`Engine.prove`: nano knows no Lean and is told so; tactics need no model."""

import time
from collections.abc import Generator
from typing import Any

import pytest

import mlx_deepseek as ds
from mlx_deepseek import prompts
from mlx_deepseek.errors import LeanError
from mlx_deepseek.generation.results import Chunk
from mlx_deepseek.proving import Attempt, Proof, stream_proof
from mlx_deepseek.proving.lean import Lean

STATEMENT = "theorem t (p q r : Prop) (h : p → q ∨ r) (hq : ¬q) : p → r := by"


def test_a_model_that_knows_no_lean_proves_nothing(lean: Lean):
    engine = ds.load("nano")
    options = {"lean": lean, "attempts": 2, "seed": 3, "memory_bytes": 1 << 30, "max_tokens": 24}
    proof = engine.prove(STATEMENT, portfolio=False, **options)
    assert not proof.accepted
    assert [a.method for a in proof.attempts] == ["sample", "sample"]
    assert all(a.reason and a.tokens for a in proof.attempts)
    again = engine.prove(STATEMENT, portfolio=False, **options)
    assert [a.text for a in again.attempts] == [a.text for a in proof.attempts]
    assert engine.prove("theorem t : 2 + 2 = 4 := by", **options).method == "portfolio"


def test_attempts_come_as_they_are_made_and_closing_stops(lean: Lean):
    options = {"lean": lean, "method": "portfolio", "memory_bytes": 1 << 30}
    events = [e for e in stream_proof(None, "theorem t : 2 + 2 = 4 := by", **options) if e]
    assert isinstance(events[0], Attempt)
    assert isinstance(events[-1], Proof)
    assert events[-1].accepted
    endless = Endless()
    stream = stream_proof(endless, STATEMENT, lean=lean, portfolio=False, memory_bytes=1 << 30)
    while not endless.started:
        next(stream)
    stream.close()  # comes back, though the policy never does
    with pytest.raises(LeanError, match="no theorem"):
        list(stream_proof(None, "hello", lean=lean, method="portfolio"))


class Endless:
    """Writes for ever."""

    name = "endless"
    prompt_format = prompts.get("prover_v15")
    started = False

    def stream(self, prompt: Any, **options: Any) -> Generator[Chunk]:
        while True:
            self.started = True
            time.sleep(0.01)
            yield Chunk(text="x")
