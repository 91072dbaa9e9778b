"""Waiting for a state instead of for a time."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Return when something is so; fail where it never is, however busy the machine."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "timed out"
        time.sleep(0.01)
