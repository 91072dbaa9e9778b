"""How much a test tries: little in CI, more where TEST_BREADTH says so."""

import os
from typing import Any

BREADTH = int(os.environ.get("TEST_BREADTH", "1"))


def examples(count: int) -> int:
    """So many, or so many times TEST_BREADTH."""
    return count * BREADTH


def wide(*cases: Any) -> tuple[Any, ...]:
    """Cases whose mechanisms others show in CI: tried where TEST_BREADTH is more than 1."""
    return cases if BREADTH > 1 else ()
