"""A model's prompts for proofs, and what becomes of its answers."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mlx_deepseek import prompts
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.results import Chunk, Usage
from mlx_deepseek.prompts.formats import prover
from mlx_deepseek.proving.policy import ModelPolicy, as_written
from mlx_deepseek.proving.process import StopSignal
from mlx_deepseek.proving.session import ProofRequest
from mlx_deepseek.proving.statement import read_theorem

THEOREM = read_theorem("theorem t (n : ℕ) : n = n := by\n", prover.HEADER)


class Model:
    """Answers with a text and keeps what it was asked."""

    def __init__(self, format_id: str, answer: str = ""):
        self.name = "model"
        self.prompt_format = prompts.get(format_id)
        self.answer = answer
        self.asked: list[Any] = []
        self.closed = 0

    def stream(self, prompt: Any, **options: Any) -> Iterator[Chunk]:
        self.asked.append(SimpleNamespace(prompt=prompt, **options))
        try:
            for number, piece in enumerate(self.answer, start=1):
                yield Chunk(text=piece, usage=Usage(completion_tokens=number))
        finally:
            self.closed += 1


def test_v15_is_asked_as_its_scripts_do():
    model = Model("prover_v15", "  rfl\n")
    (written,) = ModelPolicy(model).write([ProofRequest(THEOREM, 7)])
    asked = model.asked[0]
    assert asked.prompt == prover.completion("theorem t (n : ℕ) : n = n := by\n")
    assert (asked.max_tokens, asked.sampling.seed, asked.sampling.temperature) == (2048, 7, 1.0)
    assert (written.text, written.form, written.tokens) == ("  rfl\n", "body", 6)


def test_v15_goes_on_from_a_goal_that_it_is_shown():
    model = Model("prover_v15", "    rfl")
    body = "  constructor\n    skip\n"
    (written,) = ModelPolicy(model).write([ProofRequest(THEOREM, 0, body, "⊢ p")])
    assert model.asked[0].prompt.endswith(
        ":= by\n  constructor\n    skip\n    /- tactic state:\n      ⊢ p\n    -/\n"
    )
    assert written.text == body + "    rfl"


def test_v2_is_asked_in_a_chat_and_its_last_block_is_read():
    code = f"{THEOREM.before}{THEOREM.statement}\n  rfl\n"
    model = Model("prover_v2", f"Plan.\n```lean4\n{code}```")
    (written,) = ModelPolicy(model).write([ProofRequest(THEOREM, 0)])
    asked = prover.question(prover.HEADER + "theorem t (n : ℕ) : n = n := by\n  sorry")
    assert model.asked[0].prompt == asked
    assert (written.form, written.text) == ("body", "  rfl")


def test_repairs_and_sketches_have_words_of_their_own():
    policy = ModelPolicy(Model("prover_v2"))
    failed = policy.prompt(ProofRequest(THEOREM, 0, failed=("  foo", "unknown")))
    assert failed.endswith("```lean4\nfoo\n```\n\nIts error:\nunknown")
    assert policy.prompt(ProofRequest(THEOREM, 0, sketch=True)).endswith(prover.SKETCH)
    opened = ModelPolicy(Model("prover_v15")).prompt(ProofRequest(THEOREM, 0, failed=("  a", "b")))
    assert "/- An attempt that Lean rejected:\n  a\nerror: b\n-/\ntheorem t" in opened


def test_v1_has_no_comments_to_ask_for():
    with pytest.raises(PromptError, match="no comments"):
        ModelPolicy(Model("prover_v1"), cot=True)


def test_stop_ends_an_answer():
    stop = StopSignal()
    stop.stop()
    model = Model("prover_v15", "x" * 1000)
    (written,) = ModelPolicy(model, stop=stop).write([ProofRequest(THEOREM, 0)])
    assert (written.text, model.closed) == ("x", 1)


@pytest.mark.parametrize(
    ("code", "form", "text"),
    [
        ("theorem t (n : ℕ) :\n    n = n := by\n  rfl", "body", "  rfl"),
        ("theorem t (n : ℕ) : n = n := by rfl", "body", "  rfl"),
        ("/-- Doc. -/\ntheorem t (n : ℕ) : n = n := by -- why\n  rfl", "file", None),
        ("lemma a : True := trivial\ntheorem t (n : ℕ) : n = n := by\n  rfl", "file", None),
        ("theorem t (m : ℕ) : m = m := by\n  rfl", "file", None),
        ("  rfl", "body", "  rfl"),
        ("theorem t /- open", "file", None),
    ],
)
def test_whole_answers_become_bodies_where_they_can(code: str, form: str, text: str | None):
    written = as_written(code, THEOREM)
    assert (written.form, written.text) == (form, code if text is None else text)


def test_the_headers_of_published_problems_are_kept():
    entry = {
        "name": "a",
        "header": prover.HEADER,
        "informal_prefix": "/-- Why -/\n",
        "formal_statement": "theorem t (n : ℕ) : n = n := by\n",
    }
    from mlx_deepseek.proving.problems import read_problems

    (problem,) = read_problems([json.dumps(entry), ""])
    prompt = ModelPolicy(Model("prover_v15")).prompt(ProofRequest(problem.theorem, 0))
    assert prompt == prover.completion(entry["formal_statement"], informal="/-- Why -/\n")
