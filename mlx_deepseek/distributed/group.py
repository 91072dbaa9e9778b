"""Rank 0's side of the ring: what it has the others do, and what happens when one is lost."""

import atexit
import json
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from mlx_deepseek.distributed import processes
from mlx_deepseek.distributed.hosts_file import TIMEOUT_S, Hosts, read_hosts
from mlx_deepseek.distributed.link import Link, cut_connections
from mlx_deepseek.errors import ConfigError, DeepSeekError, HostsError
from mlx_deepseek.runtime.compute_thread import ComputeThread, shared_worker
from mlx_deepseek.runtime.launched import launched_rank

T = TypeVar("T")

WATCH_S = 0.2
SILENT_S = 20.0  # longest silence of a process, unless no step may take as long
BLAME_S = 2.0  # time to find out who was lost
STUCK_S = 1.0  # after that, a thread that waits for a lost machine is given up
CONNECT_S = 60.0
REST_S = 1.0  # after so long without a word the others wait for one without computing


class Group:
    """The machines of this process; MLX lets a process be in one ring only, once.

    What is said belongs to the thread that computes; `deeds` are said with the next step.
    """

    _one: ClassVar["Group | None"] = None

    def __init__(
        self,
        started: Sequence[processes.RankProcess],
        timeout_s: float = TIMEOUT_S,
        memory: str | None = None,
    ):
        self.link: Link
        self.deeds: deque[list[Any]] = deque()
        self.lost: HostsError | None = None
        self.timeout_s = timeout_s
        self.when_lost: list[Callable[[HostsError], None]] = []  # ends requests
        self.unfinished: list[Any] = []  # what cannot be freed after a loss
        self.memory = memory  # what the hosts file allows this machine
        self.worker: ComputeThread = shared_worker()
        self._started = started
        self._said_s = time.monotonic()
        self._rests, self._resting = 0, False
        self._patient = 0
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    @classmethod
    def of(cls, hosts: "str | Path | Group | None") -> "Group | None":
        """The group of a hosts file, or that of mlx.launch; None where there is neither.

        Raises:
            HostsError: a machine cannot be reached, or the group was lost before.
            ConfigError: the file is damaged, or another one than this process began with.
        """
        if isinstance(hosts, Group):
            return hosts
        if cls._one is None:
            if hosts is None and launched_rank() is None:
                return None
            cls._one = cls._opened(None if hosts is None else read_hosts(Path(hosts)))
            cls._one.file = hosts
        elif hosts is None and cls._one.file is not None:
            return None
        elif hosts != cls._one.file:
            raise ConfigError(
                f"{hosts}: this process is in a group of machines already. Start another one."
            )
        if cls._one.lost is not None:
            raise cls._one.lost
        return cls._one

    @classmethod
    def _opened(cls, hosts: Hosts | None) -> "Group":
        if hosts is None:
            group = cls([])
        else:
            group = cls(processes.start(hosts), hosts.timeout_s, hosts.machines[0].memory)
            join_ring(0, hosts.ring)
        atexit.register(group.close)
        group._watch.start()
        group._connect()
        return group

    file: "str | Path | None" = None

    @property
    def size(self) -> int:
        """Machines, this one included."""
        return self.link.size

    def names(self) -> list[str]:
        """What machines are called in messages, by rank."""
        own = [one.name for one in self._started]
        return ["this machine (rank 0)", *(own or (f"rank {i}" for i in range(1, self.size)))]

    def tell(self, model: int, deed: str, facts: dict[str, Any]) -> None:
        """Have something done before the next step; from any thread."""
        if self.lost is None:
            self.deeds.append([model, deed, facts])

    def say(self, **message: Any) -> None:
        """Send a message, after what was told.

        Raises:
            HostsError: a machine is lost.
        """
        if self.lost is not None:
            raise self.lost
        if self._resting:
            self._resting = False
            for one in self._started:
                one.wake(self._rests)
        told = [self.deeds.popleft() for _ in range(len(self.deeds))]
        self._said_s = time.monotonic()
        self.link.say({"deeds": told, **message})

    def _rest(self) -> None:
        """Let the others wait for `wake`: who waits for MLX's ring keeps a core busy."""
        if self.lost is None and not self._resting and time.monotonic() - self._said_s > REST_S:
            self._rests += 1
            self.say(rest=self._rests)
            self._resting = True

    def ask(
        self, deed: str, own: Callable[[], dict[str, Any]] = dict, **facts: Any
    ) -> list[dict[str, Any]]:
        """Every rank's answer, by rank; ours is `own()`. Takes as long as it takes.

        Raises:
            HostsError: a machine is lost, or refuses.
            DeepSeekError: what `own` raises.
        """
        with self.patience():
            self.say(ask=deed, facts=facts)
            failed: DeepSeekError | None = None
            try:
                mine = own()
            except DeepSeekError as error:
                failed, mine = error, {"error": str(error)}
            try:
                answers = self.link.gather(mine)
            except RuntimeError as error:
                raise self.explained(error) from error
        if failed is not None:
            raise failed
        for name, answer in zip(self.names(), answers, strict=True):
            if "error" in answer:
                raise HostsError(f"{name}: {answer['error']}")
        return answers

    @contextmanager
    def patience(self) -> Generator[None]:
        """What happens meanwhile may take as long as it does, as long as all processes live."""
        self._patient += 1
        try:
            yield
        finally:
            self._patient -= 1

    def explained(self, error: Exception) -> Exception:
        """An error as its reason: MLX says only that a connection was lost."""
        if self.lost is None and isinstance(error, RuntimeError) and "[ring]" in str(error):
            ends_s = time.monotonic() + BLAME_S
            while self.lost is None and time.monotonic() < ends_s:
                time.sleep(WATCH_S / 4)
            self.lose("The connection to another machine was lost")
        return self.lost or error

    def lose(self, what: str) -> None:
        """A machine is lost, and with it the group: whoever waits for it is freed."""
        if self.lost is not None:
            return
        self.lost = HostsError(
            f"{what}. The models on several machines are gone; look after that machine "
            "(`mlx-deepseek hosts`), then start this command again."
        )
        self.deeds.clear()
        cut_connections()
        threading.Thread(target=self._after_loss, args=(self.lost,), daemon=True).start()

    def close(self) -> None:
        """Let the other processes end, as this one does.

        After a loss at once: what MLX waits for will never come.
        """
        self._ended.set()
        if self.lost is None:
            self.lost = HostsError("The group of machines is closed. Start this command again.")
            if not self._started:
                self.worker.call(self.link.say, {"deeds": [], "end": True})
            processes.end(self._started)
            return
        processes.end(self._started)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    def _after_loss(self, error: HostsError) -> None:
        """End what waits, on whatever thread."""
        began_s = self.worker.began_s
        for end in list(self.when_lost):
            end(error)
        processes.end(self._started)
        time.sleep(STUCK_S)  # the thread that computes may have an error of MLX by then
        if began_s is not None and self.worker.began_s == began_s:
            self.worker.abandon(error)

    def _connect(self) -> None:
        """Find the others; they may be lost before they are found."""
        connected = threading.Event()
        failed: list[Exception] = []

        def connect() -> None:
            try:
                self.link = Link()
            except Exception as error:
                failed.append(error)
            connected.set()

        self.worker.post(connect)
        ends_s = time.monotonic() + CONNECT_S
        while not connected.wait(WATCH_S):
            if self.lost is None and time.monotonic() > ends_s:
                self.lose(f"The machines do not find each other within {CONNECT_S:.0f} s")
            if self.lost is not None:
                raise self.lost
        if failed:
            processes.end(self._started)
            raise HostsError(
                f"The machines do not find each other ({failed[0]}). Expected addresses in the "
                "hosts file (`ips`) that all of them reach, and free ports."
            )

    def _look(self) -> None:
        """Watch the processes, and how long the thread that computes waits for them."""
        while not self._ended.wait(WATCH_S) and self.lost is None:
            for one in self._started:
                one.tell(".")
                trouble = one.trouble(min(SILENT_S, self.timeout_s))
                if trouble is not None:
                    self.lose(trouble)
                    break
            began_s = self.worker.began_s
            idle = began_s is None and not self._resting and not self._patient
            if self._started and idle and time.monotonic() - self._said_s > REST_S:
                self.worker.post(self._rest)
            if began_s is None or self._patient or self._said_s < began_s - self.timeout_s:
                continue
            if time.monotonic() - max(began_s, self._said_s) > self.timeout_s:
                self.lose(f"Another machine has not answered for {self.timeout_s:.0f} s")


def join_ring(rank: int, ring: list[list[str]]) -> None:
    """Say to MLX where the ring's machines are."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(ring, file)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    os.environ |= {"MLX_RANK": str(rank), "MLX_HOSTFILE": file.name}
