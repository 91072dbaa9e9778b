"""Files of theorems: which are open, and the file with their proofs in place."""

from collections.abc import Callable
from dataclasses import dataclass

from mlx_deepseek.proving.attempts import Attempt
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.lean_text import WORD, Command, blank, commands
from mlx_deepseek.proving.process import Limits
from mlx_deepseek.proving.statement import THEOREMS, Theorem, open_end, theorem_at
from mlx_deepseek.proving.verdict import Judge, Verdict, own_part


@dataclass(frozen=True)
class Outcome:
    """One open theorem of a file and the attempt that proved it, if any did."""

    theorem: Theorem
    found: Attempt | None


Work = Callable[[Theorem, int], Attempt | None]


def prove_file(text: str, work: Work) -> tuple[str, list[Outcome]]:
    """Prove every theorem that ends in `sorry`, in order; later ones may use earlier ones.

    `work` is given each theorem with what precedes it, proved as far as it is. Returns the file
    with the proofs in place, and what became of each theorem.

    Raises:
        LeanError: a comment or string of the file is not closed.
    """
    found = commands(text)
    outcomes: list[Outcome] = []
    for index, command in enumerate(found):
        theorem = theorem_at(found, index) if is_open(command) else None
        if theorem is None:
            continue
        attempt = work(theorem, len(outcomes))
        outcomes.append(Outcome(theorem, attempt))
        if attempt is not None:
            proved = with_proof(command, theorem, attempt)
            found[index] = Command(proved, blank(proved))
    return "".join(command.text for command in found), outcomes


def check_file(text: str, proofs: str, lean: Lean, limits: Limits) -> dict[str, Verdict]:
    """Judge a file's proofs of the theorems that are open in another; by their names.

    Raises:
        LeanError: a file cannot be read, or Lean does not accept a statement.
    """
    submitted, verdicts = proofs_in(proofs, text), {}

    def work(theorem: Theorem, number: int) -> Attempt | None:
        proof = submitted.get(theorem.name)
        if proof is None:
            verdicts[theorem.full_name] = Verdict(False, "There is no proof of it.", step=1)
            return None
        with Judge(lean, theorem, limits) as judge:
            verdict = verdicts[theorem.full_name] = judge.check(proof, "file")
        if not verdict.accepted:
            return None
        return Attempt(number, "check", 0, proof, "file", True, axioms=verdict.axioms)

    prove_file(text, work)
    return verdicts


def is_open(command: Command) -> bool:
    """Whether it is a theorem whose proof is `sorry` and nothing else."""
    end = open_end(command.blanked)
    return command.word in THEOREMS and end is not None and "sorry" in command.blanked[end:]


def with_proof(command: Command, theorem: Theorem, attempt: Attempt) -> str:
    """A theorem's command as written, with a proof in place of `sorry`."""
    end = open_end(command.blanked)
    assert end is not None
    tail = command.text[len(command.text.rstrip()) :]
    head = command.text[:end].rstrip()
    if attempt.form == "body":
        return f"{head} := by\n{attempt.text.strip(chr(10)).rstrip()}{tail}"
    return own_part(attempt.text, theorem).strip("\n").rstrip() + tail


def proofs_in(text: str, source: str) -> dict[str, str]:
    """Of a file with proofs of the theorems that are open in `source`: each one's text by name.

    New commands before a theorem belong to it.

    Raises:
        LeanError: a comment or string is not closed.
    """
    known = {command.normal for command in commands(source)}
    sources = commands(source)
    names = {
        theorem.name
        for index, command in enumerate(sources)
        if is_open(command) and (theorem := theorem_at(sources, index))
    }
    found, pending = {}, ""
    for command in commands(text):
        if command.normal in known or command.word == "import":
            continue
        pending += command.text
        name = next((n for n in WORD.findall(command.blanked) if n in names), None)
        if command.word in THEOREMS and name is not None:
            found[name], pending = pending, ""
    return found
