"""DeepSeek-Prover V1, V1.5 (arXiv:2408.08152) and V2 (arXiv:2504.21801): Lean 4 statements."""

from mlx_deepseek.prompts.markers import BOS

HEADER = (
    "import Mathlib\nimport Aesop\n\nset_option maxHeartbeats 0\n\n"
    "open BigOperators Real Nat Topology Rat\n\n"
)
TASK = "Complete the following Lean 4 code"
WITH_COMMENTS = " with explanatory comments preceding each line of code"
PLAN = (
    "Before producing the Lean 4 code to formally prove the given theorem, provide a detailed "
    "proof plan outlining the main proof steps and strategies.\nThe plan should highlight key "
    "ideas, intermediate lemmas, and proof structures that will guide the construction of the "
    "final formal proof."
)


def completion(statement: str, *, cot: bool = False, header: str = HEADER) -> str:
    """V1 and V1.5: an open Lean fence that the model continues; stop at the next ```.

    `statement` may begin with an informal comment; `cot` asks for comments (V1.5 only).
    """
    return f"{BOS}{TASK}{WITH_COMMENTS if cot else ''}:\n\n```lean4\n{header}{statement}"


def question(statement: str, *, cot: bool = True) -> str:
    """V2: the user message for a statement that ends in `sorry`; `cot` asks for a plan first."""
    closed = f"{TASK}:\n\n```lean4\n{statement}\n```"
    return f"{closed}\n\n{PLAN}" if cot else closed
