"""A theorem to prove: its imports, what stands before it, and its statement, open at the end."""

import re
from dataclasses import dataclass, replace

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.lean_text import SCOPES, WORD, Command, blank, commands

THEOREMS = ("theorem", "lemma", "example")
LOCAL = re.compile(r"^\s*(local|scoped\s+local)\b")
LOCAL_ATTRIBUTE = re.compile(r"^\s*attribute\s*\[[^\]]*\blocal\b")


@dataclass(frozen=True)
class Theorem:
    """One theorem of a file.

    `before` is all that precedes it, as written; of this, `imports` are the lines of `import` and
    `context` the other commands. `statement` begins with its documentation and `theorem` or
    `lemma`, and ends with `:= by`. `name` is written there, its namespace is not.
    """

    name: str
    statement: str
    before: str = ""
    imports: str = ""
    context: tuple[Command, ...] = ()

    @property
    def module(self) -> str:
        """What precedes it, as a module that other files import: nothing in it is private."""
        return self.imports + "".join(c.text.rstrip("\n") + "\n\n" for c in self.context)

    @property
    def modules(self) -> list[str]:
        """What is imported."""
        return re.findall(r"^\s*import\s+(\S+)", self.imports, re.MULTILINE)

    @property
    def namespace(self) -> str:
        """The namespaces that are open around it, joined by dots; "" at the root."""
        stack: list[str] = []
        for command in self.context:
            words = WORD.findall(command.blanked)
            if command.word in ("namespace", "section"):
                stack.append(words[1] if words[0] == "namespace" and len(words) > 1 else "")
            elif command.word == "end" and stack:
                stack.pop()
        return ".".join(filter(None, stack))

    @property
    def full_name(self) -> str:
        """Its name from the root."""
        if self.name.startswith("_root_."):
            return self.name.removeprefix("_root_.")
        return f"{self.namespace}.{self.name}" if self.namespace else self.name

    @property
    def scopes(self) -> str:
        """The commands before it that reach to the end of a file, not into files that import it."""
        return "".join(c.text.rstrip("\n") + "\n" for c in self.context if _is_scope(c))

    @property
    def signature(self) -> str:
        """The statement from its name on."""
        return self.statement[self._head.end(1) :].lstrip()

    def renamed(self, last: str) -> str:
        """The statement of a theorem whose name's last part is another one."""
        prefix = self.name.rpartition(".")
        other = "".join(prefix[:2]) + last
        head = self._head
        return self.statement[: head.start()] + f"{head[1]} {other}" + self.statement[head.end() :]

    @property
    def _head(self) -> re.Match[str]:
        """`theorem NAME`, where it is no comment."""
        found = re.search(rf"\b(theorem|lemma)\s+{re.escape(self.name)}", blank(self.statement))
        assert found is not None
        return found


def read_theorem(text: str, header: str = "") -> Theorem:
    """The last theorem of a text, whose proof is open: `:= by`, `:= sorry`, `:= by sorry` or `:=`.

    A text without imports gets the `header`.

    Raises:
        LeanError: the text has no theorem at its end, or it is proved.
    """
    if not re.search(r"^\s*import\b", text, re.MULTILINE):
        text = header + text
    found = commands(text)
    if not found or found[-1].word not in THEOREMS:
        raise LeanError(
            f"{_start(text)}: no theorem at the end. Expected `theorem NAME … :=`, `:= by` or "
            "`:= by sorry`."
        )
    theorem = theorem_at(found, len(found) - 1)
    if theorem is None:
        raise LeanError(f"{_start(found[-1].text)}: its proof is not open. Expected `:= by` last.")
    return theorem


def without_proof(text: str) -> str:
    """A text up to the proof of its last theorem, which ends with `:= by` then.

    The proof begins at the last theorem's `:=` outside brackets that `by` follows, else at the
    first one.

    Raises:
        LeanError: there is no theorem, or it has no `:=`.
    """
    found = commands(text)
    last = next((one for one in reversed(found) if one.word in THEOREMS), None)
    if last is None:
        raise LeanError(f"{_start(text)}: no theorem. Expected `theorem NAME … := by` and a proof.")
    marks = _definitions(last.blanked)
    if not marks:
        raise LeanError(f"{_start(last.text)}: no proof. Expected `:= by` and tactics.")
    end = next((at for at in marks if re.match(r":=\s*by\b", last.blanked[at:])), marks[0])
    before = "".join(one.text for one in found[: found.index(last)])
    return f"{before}{last.text[:end].rstrip()} := by"


def _definitions(blanked: str) -> list[int]:
    """Where `:=` stands outside brackets."""
    depth, marks = 0, []
    for at, letter in enumerate(blanked):
        depth += (letter in "([{⟨") - (letter in ")]}⟩")
        if depth == 0 and blanked.startswith(":=", at):
            marks.append(at)
    return marks


def theorem_at(found: list[Command], index: int) -> Theorem | None:
    """The theorem of one command; None where it is something else, or is proved."""
    command = found[index]
    end = open_end(command.blanked)
    if command.word not in THEOREMS or end is None:
        return None
    # Documentation stays where it is; a theorem seen from another file cannot be private.
    text = re.sub(r"\bprivate\s+(?=(noncomputable\s+)?(theorem|lemma)\b)", "", command.text[:end])
    text = text.strip() + " := by"
    if command.word == "example":
        text = re.sub(r"\bexample\b", f"theorem example_{index}", text, count=1)
    named = re.search(r"\b(?:theorem|lemma)\s+", blank(text))
    name = WORD.match(text, named.end()) if named else None
    if name is None:
        raise LeanError(f"{_start(command.text)}: the theorem has no name.")
    imports: list[str] = []
    context: list[Command] = []
    for one in found[:index]:
        if one.word == "import":
            imports.append(one.text.strip() + "\n")
        else:
            context.append(_public(one))
    before = "".join(one.text for one in found[:index])
    return Theorem(name[0], text, before, "".join(imports), tuple(context))


def open_end(blanked: str) -> int | None:
    """Where the proof of a command begins (`:=`), if it is none: nothing, `by` or `sorry` follows.

    No regular expression: a long comment before a proof is as many blanks.
    """
    text = blanked.rstrip()
    for word in ("sorry", "by"):
        if text.endswith(word) and not text[: -len(word)][-1:].isalnum():
            text = text[: -len(word)].rstrip()
    return len(text) - 2 if text.endswith(":=") else None


def _public(command: Command) -> Command:
    """Other files see no private declarations."""
    if command.word in SCOPES:
        return command
    return replace(
        command, text=re.sub(r"(?m)^((?:@\[[^\]]*\]\s*)?)private\s+", r"\1", command.text)
    )


def _is_scope(command: Command) -> bool:
    if LOCAL.match(command.blanked) or LOCAL_ATTRIBUTE.match(command.blanked):
        return True
    words = WORD.findall(command.blanked)
    if command.word == "set_option":
        return "in" not in words
    return command.word in SCOPES


def _start(text: str) -> str:
    line = next((line for line in text.splitlines() if line.strip()), "")
    return line[:80] or "an empty text"
