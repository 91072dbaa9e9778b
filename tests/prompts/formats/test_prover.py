"""Prover prompts, to the character as in the official scripts; and reading the answers."""

import pytest

from mlx_deepseek import prompts
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.formats import prover

# As in DeepSeek-Prover-V1.5's repository (prover/utils.py, prover/lean/proof.py) and V2's README.
V15 = (
    "Complete the following Lean 4 code:\n\n```lean4\nimport Mathlib\nimport Aesop\n\n"
    "set_option maxHeartbeats 0\n\nopen BigOperators Real Nat Topology Rat\n\n"
    "{informal_prefix}{formal_statement}"
)
V15_COT = V15.replace("code:", "code with explanatory comments preceding each line of code:")
V2 = "Complete the following Lean 4 code:\n\n```lean4\n{formal_statement}\n```"
V2_COT = (
    V2 + "\n\nBefore producing the Lean 4 code to formally prove the given theorem, provide a "
    "detailed proof plan outlining the main proof steps and strategies.\nThe plan should highlight "
    "key ideas, intermediate lemmas, and proof structures that will guide the construction of the "
    "final formal proof."
)
INFORMAL = "/-- Show that $1 = 1$. -/\n"
STATEMENT = "theorem t (n : ℕ) : n = n := by\n"


@pytest.mark.parametrize("cot", [False, True])
def test_v15(cot: bool):
    expected = (V15_COT if cot else V15).format(
        informal_prefix=INFORMAL, formal_statement=STATEMENT
    )
    assert prover.completion(STATEMENT, informal=INFORMAL, cot=cot) == expected
    assert prover.completion(STATEMENT.rstrip(), informal=INFORMAL, cot=cot) == expected


def test_v15_few_shot():
    shown = V15.format(informal_prefix="", formal_statement=STATEMENT) + "  rfl\n```\n\n\n"
    assert prover.few_shot([(STATEMENT, "  rfl")] * 2) == shown * 2


def test_v15_state_comments():
    assert prover.state_comment("n : ℕ\n⊢ n = n", 4) == (
        "    /- tactic state:\n      n : ℕ\n      ⊢ n = n\n    -/\n"
    )


@pytest.mark.parametrize("cot", [False, True])
def test_v2(cot: bool):
    code = prover.HEADER + STATEMENT + "  sorry"
    expected = (V2_COT if cot else V2).format(formal_statement=code)
    for given in (code, f"\n{code}\n", prover.HEADER + STATEMENT):
        assert prover.question(given, cot=cot) == expected


def test_no_prompt_has_two_bos():
    for text in (prover.completion(STATEMENT), prover.question(STATEMENT)):
        assert "begin▁of▁sentence" not in text
    rendered = prompts.get("prover_v2").render([{"role": "user", "content": V2}])
    assert rendered.count("<｜begin▁of▁sentence｜>") == 1


@pytest.mark.parametrize(
    "statement", ["theorem t : 1 = 1", "theorem t : 1 = 1 := by\n  sorry", "x"]
)
def test_v15_refuses_what_it_cannot_go_on_with(statement: str):
    with pytest.raises(PromptError, match=":= by"):
        prover.completion(statement)


def test_v2_refuses_a_finished_file():
    with pytest.raises(PromptError, match="sorry"):
        prover.question("theorem t : 1 = 1 := rfl")


@pytest.mark.parametrize(
    ("answer", "proof"),
    [("  rfl\n```\nmore", "  rfl\n"), ("  rfl\n", "  rfl\n"), ("```", ""), ("", "")],
)
def test_v15_answers_end_at_a_fence_or_at_their_end(answer: str, proof: str):
    assert prover.proof_of(answer) == proof


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Plan\n```lean4\na\n```\nso\n```lean4\nb\nc\n```\n", "b\nc"),
        ("```lean\na\n```", "a"),
        ("```\na\n```", "a"),
        ("cut off\n```lean4\na\nb", "a\nb"),
        ("none", ""),
    ],
)
def test_v2_answers_hold_the_last_block(answer: str, code: str):
    assert prover.code_of(answer) == code


def test_a_comment_with_a_failed_attempt_stays_closed():
    comment = prover.repair_comment("  x -/ sneaky /- y", "bad -/")
    assert comment.count("/-") == comment.count("-/") == 1
    assert comment.endswith("-/\n")
