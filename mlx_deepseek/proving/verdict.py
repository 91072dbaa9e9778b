"""The judge: whether a text proves a theorem, in four steps that the text cannot reach.

1. The text is filtered. 2. The statement and what precedes it are elaborated without the text.
3. The text is elaborated in a process of its own. 4. A third process, that sees only the compiled
results, checks that the theorem has the statement's type and which axioms it rests on.
"""

import re
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.lean_messages import LeanMessage, read_json_lines
from mlx_deepseek.proving.lean_text import WORD, blank, commands
from mlx_deepseek.proving.process import Ended, Limits
from mlx_deepseek.proving.statement import Theorem
from mlx_deepseek.proving.text_filter import refusal

Form = Literal["body", "file"]
AXIOMS = re.compile(r"^'\S+' depends on axioms: \[(.*)\]$", re.DOTALL)
NO_AXIOMS = re.compile(r"^'\S+' does not depend on any axioms$")
WHY_STOPPED = {
    "time": "took too long",
    "memory": "took too much memory",
    "disk": "wrote too much",
    "output": "said too much",
}


@dataclass(frozen=True)
class Verdict:
    """`reason` says why a proof was rejected, `step` (1 to 4) where; messages are of the text.

    Lines of messages count from the first line of the proof's text.
    """

    accepted: bool
    reason: str = ""
    step: int = 4
    messages: tuple[LeanMessage, ...] = ()
    axioms: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class Judge:
    """Judges proofs of one theorem; its folder is removed by `close`.

    Raises:
        LeanError: an import is not built, or Lean does not accept the statement.
    """

    lean: Lean
    theorem: Theorem
    limits: Limits = field(default_factory=Limits)
    statement_shown: str = ""
    filtered: bool = True  # tests switch the first step off to see what the others hold
    _folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.lean.require(self.theorem.modules)
        self._folder = Path(tempfile.mkdtemp(prefix="mlx-deepseek-proof-"))
        self._mark = secrets.token_hex(8)
        try:
            self._elaborate_statement()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _context(self) -> str:
        return f"Context_{self._mark}"

    @property
    def _imports(self) -> str:
        """What modules with the theorem import: all that precedes it."""
        return f"import {self._context}\n" if self.theorem.context else self.theorem.imports

    @property
    def _trusted(self) -> str:
        return f"Trusted_{self._mark}"

    def _elaborate_statement(self) -> None:
        """Step 2: what the theorem speaks of, and its type, as compiled modules."""
        own = self._folder / "statement"
        own.mkdir()
        if self.theorem.context:
            self._compile_own(own, self._context, self.theorem.module)
        last = f"trusted_{self._mark}"
        name = self._other_name(last)
        text = (
            f"{self._imports}{self.theorem.scopes}{self.theorem.renamed(last)}\n  sorry\n"
            f"#check @{name}\n"
        )
        messages = self._compile_own(own, self._trusted, text)
        shown = [m.text for m in messages if m.severity == "information"]
        self.statement_shown = (  # after the name, which is shown as its namespace allows
            self.theorem.full_name + shown[-1].partition(last)[2] if shown else ""
        )

    def _other_name(self, last: str) -> str:
        prefix = self.theorem.full_name.rpartition(".")[0]
        return f"_root_.{prefix}.{last}" if prefix else f"_root_.{last}"

    def _compile_own(self, folder: Path, module: str, text: str) -> list[LeanMessage]:
        ended = self._lean(folder, module, text, compiled=True, extra=(folder,))
        messages, _ = read_json_lines(ended.stdout)
        wrong = next((m for m in messages if m.severity == "error"), None)
        if wrong is not None or ended.returncode or ended.stopped:
            what = wrong.text if wrong else _failure(ended)
            raise LeanError(f"{self.theorem.name}: Lean does not accept the statement: {what}")
        return messages

    def check(self, text: str, form: Form | None = None) -> Verdict:
        """Judge what follows `:= by`, or a whole file (recognised by a theorem in it)."""
        form = form or form_of(text)
        if form == "file":
            try:
                text = own_part(text, self.theorem)
            except LeanError as error:
                return Verdict(False, str(error), step=1)
        if self.filtered and (reason := refusal(text, body=form == "body")):
            return Verdict(False, reason, step=1)
        attempt = Path(tempfile.mkdtemp(prefix="attempt-", dir=self._folder))
        try:
            return self._judge(attempt, text, form)
        finally:
            shutil.rmtree(attempt, ignore_errors=True)

    def _judge(self, folder: Path, text: str, form: Form) -> Verdict:
        own = self._folder / "statement"
        module = f"Submission_{self._mark}"
        head = self._imports + self.theorem.scopes
        if form == "body":
            head += f"{self.theorem.statement}\n"
        lines = head.count("\n")
        ended = self._lean(folder, module, f"{head}{text}\n", compiled=True, extra=(own,))
        found, stray = read_json_lines(ended.stdout)
        messages = tuple(LeanMessage(m.line - lines, m.column, m.severity, m.text) for m in found)
        reason = _rejection(ended, messages, stray)
        if reason:
            return Verdict(False, reason, 3, messages, (), ended.seconds)
        seconds = ended.seconds
        axioms, reason, more = self._seal(folder, own, module)
        return Verdict(not reason, reason, 4, messages, axioms, seconds + more)

    def _seal(self, folder: Path, own: Path, module: str) -> tuple[tuple[str, ...], str, float]:
        """Step 4: the same type, and which axioms; "" where both are right."""
        seal = f"seal_{secrets.token_hex(8)}"
        trusted = self._other_name(f"trusted_{self._mark}")
        # `@` keeps implicit arguments; both are constants, nothing is searched for.
        text = (
            f"import {self._trusted}\nimport {module}\n"
            f"theorem {seal} : type_of% @{trusted} := @_root_.{self.theorem.full_name}\n"
            f"#print axioms {seal}\n"
        )
        ended = self._lean(folder, f"Final_{self._mark}", text, compiled=False, extra=(own, folder))
        messages, stray = read_json_lines(ended.stdout)
        wrong = next((m.text for m in messages if m.severity == "error"), "")
        if wrong:
            return (), f"It does not prove this statement: {wrong}", ended.seconds
        if ended.returncode or ended.stopped or stray or len(messages) != 1:
            return (), f"The check of the result failed: {_failure(ended)}", ended.seconds
        said = messages[0].text
        if messages[0].line != 4 or not said.startswith(f"'{seal}' "):
            return (), "The check of the result was disturbed.", ended.seconds
        if NO_AXIOMS.match(said):
            return (), "", ended.seconds
        listed = AXIOMS.match(said)
        if listed is None:
            return (), f"The axioms cannot be read: {said[:200]}", ended.seconds
        axioms = tuple(name.strip() for name in listed[1].split(","))
        extra = [name for name in axioms if name not in self.lean.axioms]
        return axioms, f"It rests on {', '.join(extra)}." if extra else "", ended.seconds

    def _lean(
        self, folder: Path, module: str, text: str, *, compiled: bool, extra: Sequence[Path]
    ) -> Ended:
        """Elaborate a module in its own folder, the only one that may be written."""
        (folder / f"{module}.lean").write_text(text, encoding="utf-8")
        output = [f"-o{folder / module}.olean"] if compiled else []
        return self.lean.run(
            ["--json", *output, f"{module}.lean"],
            cwd=folder,
            limits=self.limits,
            extra=extra,
            writable=(folder,) if compiled else (),
        )


def own_part(text: str, theorem: Theorem) -> str:
    """A whole answer without what it repeats: imports, and commands before the theorem.

    Cut commands leave their lines, so that Lean's positions stay.

    Raises:
        LeanError: a comment or string is not closed.
    """
    known = {command.normal for command in theorem.context}
    parts = []
    for command in commands(text):
        repeated = command.normal in known or command.word == "import"
        parts.append("\n" * command.text.count("\n") if repeated else command.text)
    return "".join(parts)


def form_of(text: str) -> Form:
    """Whether a text is a whole file or what follows `:= by`."""
    try:
        lines = blank(text).splitlines()
    except LeanError:
        lines = text.splitlines()
    first = (WORD.match(line) for line in lines)
    return "file" if any(word and word[0] in ("theorem", "lemma") for word in first) else "body"


def _rejection(ended: Ended, messages: Sequence[LeanMessage], stray: Sequence[str]) -> str:
    """Why what Lean said of a text means that it is no proof."""
    if ended.stopped:
        return _failure(ended)
    wrong = next((m for m in messages if m.severity == "error"), None)
    if wrong:
        return wrong.text
    if any(m.is_sorry for m in messages):
        return "It uses sorry."
    if stray:
        return f"Lean printed what is no message: {stray[0][:200]}"
    return _failure(ended) if ended.returncode else ""


def _failure(ended: Ended) -> str:
    if ended.stopped or ended.returncode is None:
        return f"Lean {WHY_STOPPED.get(ended.stopped, 'was stopped')} ({ended.seconds:.0f} s)."
    told = ended.stderr.decode("utf-8", errors="replace").strip()[-300:]
    return f"Lean ended with {ended.returncode}: {told or 'no message'}"
