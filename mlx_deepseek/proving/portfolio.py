"""Tactics that prove much without a model: tried first, and said so in the result."""

from collections.abc import Iterator

from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.session import Session, Written

CORE = (
    "rfl",
    "decide",
    "omega",
    "simp",
    "intros; simp_all",
    "intros; omega",
    "exact trivial",
    "intros; assumption",
)
MATHLIB = (
    "norm_num",
    "ring",
    "linarith",
    "nlinarith",
    "positivity",
    "field_simp",
    "aesop",
    "tauto",
)
GRIND_SINCE = (4, 22)


def tactics(lean: Lean) -> Iterator[str]:
    """Those that this Lean has, the quick ones first."""
    yield from CORE
    if lean.has_mathlib:
        yield from MATHLIB
    number = tuple(int(part) for part in lean.version.split("-")[0].split(".")[:2])
    if number >= GRIND_SINCE:
        yield "grind"


def try_portfolio(session: Session) -> None:
    """Attempt each tactic until one proves the theorem."""
    for tactic in tactics(session.pool.lean):
        if session.accepted or session.out_of_time:
            return
        session.consider([Written(f"  {tactic}")], "portfolio", [0])
