"""DeepSeek-Prover V1, V1.5 (arXiv:2408.08152) and V2 (arXiv:2504.21801): Lean 4 statements.

V1 and V1.5 go on with a file whose fence is open; V2 is asked in a chat and writes the file anew.
No prompt has BOS: the engine begins every text with it.
"""

import re
from collections.abc import Iterable

from mlx_deepseek.errors import PromptError

HEADER = (
    "import Mathlib\nimport Aesop\n\nset_option maxHeartbeats 0\n\n"
    "open BigOperators Real Nat Topology Rat\n\n"
)
FENCE = "```"
TASK = "Complete the following Lean 4 code"
WITH_COMMENTS = " with explanatory comments preceding each line of code"
PLAN = (
    "Before producing the Lean 4 code to formally prove the given theorem, provide a detailed "
    "proof plan outlining the main proof steps and strategies.\nThe plan should highlight key "
    "ideas, intermediate lemmas, and proof structures that will guide the construction of the "
    "final formal proof."
)
# Ours: the words by which V2's own sketches were asked for are not published.
SKETCH = (
    "Do not prove every step: write the proof as a sketch of intermediate steps, each stated as "
    "`have NAME : STATEMENT := by sorry`, and prove the theorem from them."
)
REPAIR = "This attempt was rejected by Lean:\n\n```lean4\n{text}\n```\n\nIts error:\n{error}"
BLOCK = re.compile(r"```[^\S\n]*(?:lean4?|lean 4)?[^\S\n]*\n(.*?)(?:\n[^\S\n]*```|\Z)", re.DOTALL)


def completion(
    statement: str, *, header: str = HEADER, informal: str = "", cot: bool = False
) -> str:
    """V1 and V1.5: an open Lean fence that the model goes on with; it stops at the next one.

    `statement` ends with `:= by`, or goes on with the tactics that are already there; `informal` is
    a comment before it; `cot` asks for comments (V1.5 only).

    Raises:
        PromptError: the statement leaves nothing to go on with.
    """
    return f"{TASK}{WITH_COMMENTS if cot else ''}:\n\n{FENCE}lean4\n{header}{informal}" + opened(
        statement
    )


def few_shot(examples: Iterable[tuple[str, str]], *, cot: bool = False) -> str:
    """V1.5's base model: solved prompts before the one to solve, each a statement and its proof."""
    return "".join(
        f"{completion(statement, cot=cot)}{proof}\n{FENCE}\n\n\n" for statement, proof in examples
    )


def state_comment(goal: str, indent: int) -> str:
    """V1.5's tree search: the goals after the tactics so far, as a comment."""
    margin = " " * indent
    lines = [f"  {line}" for line in goal.split("\n")]
    return "".join(f"{margin}{line}\n" for line in ("/- tactic state:", *lines, "-/"))


def question(code: str, *, cot: bool = True) -> str:
    """V2: the user message for a file that ends in `sorry`; `cot` asks for a plan first.

    Raises:
        PromptError: the file does not end with a theorem to prove.
    """
    closed = f"{TASK}:\n\n{FENCE}lean4\n{with_sorry(code)}\n{FENCE}"
    return f"{closed}\n\n{PLAN}" if cot else closed


def sketch_question(code: str) -> str:
    """As `question`, for steps without their proofs."""
    return f"{question(code)}\n\n{SKETCH}"


def repair_question(asked: str, text: str, error: str) -> str:
    """A question with an attempt at it and what Lean said of that."""
    return f"{asked}\n\n{REPAIR.format(text=text.strip(), error=error.strip())}"


def repair_comment(text: str, error: str) -> str:
    """The same for a model that goes on with a file; ours, V1.5 was not trained with it."""
    told = f"{text.rstrip()}\nerror: {error.strip()}".replace("-/", "- /").replace("/-", "/ -")
    return f"/- An attempt that Lean rejected:\n{told}\n-/\n"


def opened(statement: str) -> str:
    """A statement as V1.5 reads it: a line that ends with `:= by`, or lines of tactics after it."""
    if not re.search(r":=\s*by\b", statement) or statement.rstrip().endswith("sorry"):
        raise PromptError(
            f"{statement.strip()[-60:]!r}: Prover V1 and V1.5 go on with a theorem that ends with "
            "`:= by`. Leave the proof out, `sorry` too."
        )
    return statement if statement.endswith("\n") else statement + "\n"


def with_sorry(code: str) -> str:
    """A file as V2 reads it: ending with `sorry`, without blank lines around it."""
    code = code.strip()
    if code.endswith("sorry"):
        return code
    if re.search(r":=\s*by$", code):
        return f"{code}\n  sorry"
    raise PromptError(
        f"{code[-60:]!r}: Prover V2 completes a file that ends with `:= by` or `sorry`."
    )


def proof_of(answer: str) -> str:
    """V1 and V1.5: the tactics of an answer, up to the end of the fence or of the answer."""
    return answer.partition(FENCE)[0]


def code_of(answer: str) -> str:
    """V2: the last block of Lean in an answer, closed or not; "" without one."""
    blocks = BLOCK.findall(answer)
    return blocks[-1] if blocks else ""
