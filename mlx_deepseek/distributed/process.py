"""`python -m mlx_deepseek.distributed.process`: a rank that rank 0 has started and speaks to."""

import json
import sys
import threading
import time

from mlx_deepseek.distributed.follower import follow, leave
from mlx_deepseek.distributed.group import join_ring
from mlx_deepseek.distributed.processes import BEAT_S


def main() -> int:
    """Be told who one is, say that one is ready, connect, follow."""
    setup = json.loads(sys.stdin.readline())
    join_ring(setup["rank"], setup["ring"])
    threading.Thread(target=_beat, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.readline().strip() != "go":
        return 0
    heard = [time.monotonic()]
    threading.Thread(target=_listen, args=(heard,), daemon=True).start()
    threading.Thread(target=_watch, args=(heard, setup["timeout_s"]), daemon=True).start()
    return follow(setup["timeout_s"], setup["memory"], setup["models"])


def _beat() -> None:
    while True:
        time.sleep(BEAT_S / 4)
        try:
            sys.stdout.write(".\n")
            sys.stdout.flush()
        except OSError:
            leave("rank 0 has ended")


def _listen(heard: list[float]) -> None:
    for _ in sys.stdin:
        heard[0] = time.monotonic()
    leave("rank 0 has ended")


def _watch(heard: list[float], silent_s: float) -> None:
    while time.monotonic() - heard[0] < silent_s:
        time.sleep(BEAT_S / 4)
    leave(f"rank 0 has not been heard for {silent_s:g} s")


if __name__ == "__main__":
    sys.exit(main())
