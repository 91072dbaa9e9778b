"""A conversion that kills itself: python -m tests.convert.killed SOURCE TARGET RECIPE EVENT.

Counts what it does to the disk, and sends itself SIGKILL in the midst of the EVENT-th time; prints
the count if it gets to the end.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from mlx_deepseek_convert import convert
from mlx_deepseek_convert.write import writer

seen = 0


def counted(name: str, last: int) -> None:
    """Let os.`name` count, and the `last` call be the last."""
    original: Callable[..., Any] = getattr(os, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        global seen
        seen += 1
        if seen == last:
            if name == "pwrite":  # half of it gets to the disk
                original(args[0], args[1][: len(args[1]) // 2], args[2])
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(os, name, call)


def main(source: str, target: str, recipe: str, event: str) -> None:
    for name in ("pwrite", "fsync", "rename", "truncate", "unlink"):
        counted(name, int(event))
    writer.COMMIT_BYTES, writer.COMMIT_SECONDS = 50_000, 1e9
    convert(source, target, recipe)
    print(seen)


if __name__ == "__main__":
    main(*sys.argv[1:])
