"""What a proof may say: the first of the verdict's four steps, before Lean sees the text.

A proof can run code while it is checked (`#eval`, macros, `initialize`, attributes), so commands
are taken from an allow list and words that lead to code are refused wherever they stand.
"""

import re
import unicodedata

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.lean_text import COMMANDS, WORD, blank, words

BEGINS = words(
    "theorem lemma def abbrev open set_option variable universe section namespace end "
    "noncomputable private protected structure inductive"
)
IN_BODIES = frozenset({"open", "set_option"})  # only as `open … in`, `set_option … in`
OPTIONS = words(
    "maxHeartbeats maxRecDepth synthInstance.maxHeartbeats synthInstance.maxSize "
    "exponentiation.threshold tactic.hygienic linter.all linter.unusedVariables pp.all"
)
# Words that begin a command, or have Lean run code or take something unproved.
KEYWORDS = (
    COMMANDS - BEGINS - {"prefix", "module"}  # also ordinary names
    | words(
        "sorry admit run_elab run_meta run_tac by_elab dsimproc simproc_decl "
        "builtin_simproc builtin_dsimproc include_str native_decide dbg_trace "
        "binder_predicate unif_hint register_simp_attr register_option "
        "initialize_simps_projections reserve open_locale exact? apply? rw? rewrites? "
        "observe? hint polyrith stop"
    )
)
# Constants of the same kind; refused as any part of a dotted name.
NAMES = words(
    "sorryAx extern implemented_by csimp ofReduceBool ofReduceNat trustCompiler lcProof "
    "lcUnreachable lcAny unsafeCast unsafeIO unsafeBaseIO unsafeEIO dbgTrace "
    "dbgTraceVal dbgSleep skipKernelTC"
)
ROOTS = frozenset({"IO", "System", "Lean", "Elab", "Meta"})
LOOK_ALIKES = str.maketrans("аеорсухіѕјԁӏοανικτρ", "aeopcyxisjdloaviktp")
LETTERS = re.compile(r"\w+")


def refusal(text: str, *, body: bool, sketch: bool = False) -> str:
    """Why a proof is refused before Lean sees it; "" for one that may be checked.

    A `body` is what follows `:= by`; it may begin no command. A `sketch` may say `sorry`.
    """
    if hidden := next((c for c in text if _hidden(c)), None):
        return f"U+{ord(hidden):04X} is invisible or changes the direction of the text."
    try:
        blanked = blank(text)
    except LeanError as error:
        return str(error)
    if code := re.search(r"@\[|#[^\W\d]\w*", blanked):
        return f"`{code[0]}`: attributes and commands that begin with # may run code."
    if reason := _disguise(blanked):
        return reason
    found = list(WORD.finditer(blanked))
    for number, match in enumerate(found):
        if sketch and match[0] == "sorry":
            continue
        if reason := _word_refusal(match[0], body):
            return reason
        if match[0] == "set_option" and (
            number + 1 == len(found) or found[number + 1][0] not in OPTIONS
        ):
            return f"`set_option` of another option than {', '.join(sorted(OPTIONS))}."
    return _margin_refusal(blanked, body)


def _word_refusal(word: str, body: bool) -> str:
    parts = [part.strip("«»") for part in re.findall(r"«[^»]*»|[^.«]+", word)]
    if word.strip("«»") in KEYWORDS or NAMES & set(parts):
        return f"`{word}` is not allowed in a proof."
    root = parts[1] if parts[0] == "_root_" and len(parts) > 1 else parts[0]
    if root in ROOTS:
        return f"`{word}`: names below {root} reach the machine or Lean itself."
    if body and word in BEGINS - IN_BODIES:
        return f"`{word}` begins another command; expected the proof of one theorem."
    return ""


def _disguise(blanked: str) -> str:
    """A word of letters that look like those of a forbidden one."""
    for match in LETTERS.finditer(blanked):
        plain = unicodedata.normalize("NFKC", match[0]).translate(LOOK_ALIKES)
        if plain != match[0] and plain in KEYWORDS | NAMES:
            return f"`{match[0]}` looks like `{plain}`, which is not allowed in a proof."
    return ""


def _margin_refusal(blanked: str, body: bool) -> str:
    """What begins at the margin: commands of the allow list, nothing in a body."""
    for line in blanked.splitlines():
        first = WORD.match(line)
        if body and first and first[0] in IN_BODIES and not re.search(r"\bin\b", line):
            return f"`{first[0]}` without `in` begins another command."
        if not body and first and first[0] not in BEGINS and first[0] in COMMANDS:
            return f"`{first[0]}` may not begin a command."
    return ""


def _hidden(character: str) -> bool:
    if character in "\n\t ":
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")
