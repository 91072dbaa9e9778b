"""How many examples a test of random ones takes: few in CI, more where TEST_BREADTH says so."""

import os

BREADTH = int(os.environ.get("TEST_BREADTH", "1"))


def examples(count: int) -> int:
    """So many, or so many times TEST_BREADTH."""
    return count * BREADTH
