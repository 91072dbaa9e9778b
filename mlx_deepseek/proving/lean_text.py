"""Lean's text without its meaning: comments and strings blanked, words, commands at the margin."""

import itertools
import re
from dataclasses import dataclass

from mlx_deepseek.errors import LeanError

# Lean's identifiers: `λ`, `Π` and `Σ` are symbols; «anything» in quotes; parts joined by dots.
_LETTERS = (
    "A-Za-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017f\u0391-\u039f\u03a1\u03a2\u03a4-\u03a9"
    "\u03b1-\u03ba\u03bc-\u03fb\u1f00-\u1ffe\u2100-\u214f\U0001d49c-\U0001d59f"
)
_REST = _LETTERS + "0-9'!?\u2080-\u2089\u2090-\u209c\u1d62-\u1d6a\u2c7c"
_PART = f"(?:«[^»\n]*»|[{_LETTERS}][{_REST}]*)"
WORD = re.compile(rf"{_PART}(?:\.{_PART})*")
CHARACTER = re.compile(r"'(?:\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)|[^\\'\n])'")
LOCALLY = re.compile(r"^\s*(?:open|set_option|variable|include|omit)\b[^\n]*?\bin\b", re.MULTILINE)
LONGEST_TEXT = 2 << 20
RAW_STRING = re.compile(r'r(#*)"')


def words(text: str) -> frozenset[str]:
    """A set of words."""
    return frozenset(text.split())


DECLARATIONS = words(
    "theorem lemma def abbrev example instance structure inductive class axiom opaque"
)
MODIFIERS = words("private protected noncomputable unsafe partial nonrec scoped local public")
SCOPES = words("open namespace section end variable variables universe include omit")
COMMANDS = (
    DECLARATIONS
    | MODIFIERS
    | SCOPES
    | words(
        "import set_option mutual attribute export notation notation3 infix infixl infixr "
        "prefix postfix macro macro_rules syntax elab elab_rules declare_syntax_cat "
        "initialize builtin_initialize deriving alias run_cmd simproc irreducible_def "
        "suppress_compilation add_decl_doc library_note module"
    )
)


@dataclass(frozen=True)
class Command:
    """One command of a file: its text as written, and with comments and strings blanked."""

    text: str
    blanked: str

    @property
    def word(self) -> str:
        """What it is: its first word that is no modifier, after any `open … in`."""
        seen = LOCALLY.sub(" ", without_attributes(self.blanked))
        found = [w for w in WORD.findall(seen) if w in COMMANDS]
        return next((w for w in found if w not in MODIFIERS), found[0] if found else "")

    @property
    def normal(self) -> str:
        """To compare with others: without comments, white space folded."""
        return " ".join(self.blanked.split())


def blank(text: str) -> str:
    """The same text, of the same length and lines, with comments, strings and characters as blanks.

    Raises:
        LeanError: a comment or string is not closed, or reads differently to Lean than to a person;
            or the text is too long.
    """
    if len(text) > LONGEST_TEXT:
        raise LeanError(f"The text has {len(text):,} characters, more than {LONGEST_TEXT:,}.")
    out, at = [], 0
    while at < len(text):
        end = _skipped(text, at)
        if end is None:
            word = WORD.match(text, at)
            end = word.end() if word else at + 1
            out.append(text[at:end])
        else:
            out.append(re.sub(r"[^\n]", " ", text[at:end]))
        at = end
    return "".join(out)


def _skipped(text: str, at: int) -> int | None:
    """Where the comment, string or character that begins at `at` ends; None if none does."""
    pair = text[at : at + 2]
    if pair in ("--", "/-"):
        before = text[at - 1] if at else "\n"
        if not (before.isspace() or before.isalnum() or before in "_'])}⟩,»"):
            raise LeanError(f"{before}{pair}: a comment right after a symbol may be another one.")
        return _comment_end(text, at) if pair == "/-" else (text + "\n").find("\n", at)
    if raw := RAW_STRING.match(text, at):
        end = text.find('"' + raw[1], raw.end())
        if end < 0:
            raise LeanError("A string is not closed.")
        return end + 1 + len(raw[1])
    if text[at] == '"':
        if at and (text[at - 1] in "!'" or text[at - 1].isalnum()):
            raise LeanError("A string that is interpolated, or right after a word.")
        return _string_end(text, at)
    if text[at] == "'" and (character := CHARACTER.match(text, at)):
        if '"' in character[0]:
            raise LeanError("A quotation mark as a character.")
        return character.end()
    return None


def _comment_end(text: str, at: int) -> int:
    depth, here = 0, at
    for found in re.compile(r"/-|-/").finditer(text, at):
        if found.start() < here:
            continue
        depth += 1 if found[0] == "/-" else -1
        here = found.end()
        if not depth:
            return here
    raise LeanError("A comment is not closed.")


def _string_end(text: str, at: int) -> int:
    here = at + 1
    while here < len(text):
        if text[here] == "\\":
            here += 2
        elif text[here] == '"':
            return here + 1
        else:
            here += 1
    raise LeanError("A string is not closed.")


def without_attributes(blanked: str) -> str:
    """Without what stands in `@[…]`."""
    return re.sub(r"@\[[^\]]*\]", " ", blanked)


def sorries(text: str) -> list[tuple[int, int]]:
    """Where each `sorry` begins and ends.

    Raises:
        LeanError: a comment or string is not closed.
    """
    return [match.span() for match in WORD.finditer(blank(text)) if match[0] == "sorry"]


def commands(text: str) -> list[Command]:
    """The commands of a file in order; what precedes the first one belongs to it.

    A command begins at the margin with a word of `COMMANDS`, `@[`, `#` or a documentation comment.
    """
    blanked = blank(text)
    starts, at, previous = [0], 0, ""
    for line, seen in zip(
        text.splitlines(keepends=True), blanked.splitlines(keepends=True), strict=True
    ):
        first = WORD.match(seen)
        begins = (first and first[0] in COMMANDS) or seen.startswith(("@[", "#"))
        begins = begins or line.startswith(("/--", "/-!"))
        if begins and _complete(previous) and not _inside_mutual(previous, first):
            starts.append(at)
            previous = ""
        previous += seen
        at += len(line)
    cuts = [*starts, len(text)]
    parts = [(text[a:b], blanked[a:b]) for a, b in itertools.pairwise(cuts) if text[a:b].strip()]
    return [Command(*part) for part in parts]


def _complete(blanked: str) -> bool:
    """Whether another command can begin after this text: not after attributes, or `… in`."""
    found = WORD.findall(without_attributes(blanked))
    return any(w not in MODIFIERS for w in found) and found[-1] != "in"


def _inside_mutual(blanked: str, first: re.Match[str] | None) -> bool:
    found = WORD.findall(blanked)
    return bool(found) and found[0] == "mutual" and first is not None and found[-1] != "end"
