"""`python -m mlx_deepseek.distributed.process`: a rank that rank 0 has started and speaks to."""

import json
import sys
import threading
import time

from mlx_deepseek.distributed.follower import follow, leave
from mlx_deepseek.distributed.group import join_ring
from mlx_deepseek.distributed.processes import BEAT_S, WAKE


class Rests:
    """Waits that rank 0 begins through MLX's ring and ends through this process's input.

    They are counted, as the end of one may be heard before its beginning.
    """

    def __init__(self) -> None:
        self._ended = 0
        self._changed = threading.Condition()

    def wake(self, number: int) -> None:
        """End the rest of that number."""
        with self._changed:
            self._ended = number
            self._changed.notify_all()

    def rest(self, number: int) -> None:
        """Wait until the rest of that number ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended >= number)


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
    rests = Rests()
    threading.Thread(target=_listen, args=(heard, rests), daemon=True).start()
    threading.Thread(target=_watch, args=(heard, setup["timeout_s"]), daemon=True).start()
    return follow(setup["timeout_s"], setup["memory"], setup["models"], rests.rest)


def _beat() -> None:
    while True:
        time.sleep(BEAT_S / 4)
        try:
            sys.stdout.write(".\n")
            sys.stdout.flush()
        except OSError:
            leave("rank 0 has ended")


def _listen(heard: list[float], rests: "Rests") -> None:
    for line in sys.stdin:
        heard[0] = time.monotonic()
        if line.startswith(WAKE):
            rests.wake(int(line.split()[1]))
    leave("rank 0 has ended")


def _watch(heard: list[float], silent_s: float) -> None:
    while time.monotonic() - heard[0] < silent_s:
        time.sleep(BEAT_S / 4)
    leave(f"rank 0 has not been heard for {silent_s:g} s")


if __name__ == "__main__":
    sys.exit(main())
