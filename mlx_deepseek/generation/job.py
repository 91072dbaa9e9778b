"""A request on its way through the scheduler: where it stands, and what is ready for its reader."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.generation.request import GeneratedToken, Request
from mlx_deepseek.generation.results import FinishReason, Usage

State = Literal["waiting", "reading", "writing", "done"]
# Items that may be ready before a reader who is away holds a generation up.
READY = 1
_numbers = itertools.count(1)


class Sink(Protocol):
    """What becomes of a request's tokens."""

    @property
    def stopped(self) -> bool:
        """Whether nothing more is wanted."""
        ...

    def take(self, step: GeneratedToken) -> Any:
        """What a token, or progress in the prompt, adds for the reader; None: nothing yet."""
        ...

    def finish(self, usage: Usage, reason: FinishReason) -> Any:
        """What is left for the reader; None: nothing."""
        ...


class TokenSink:
    """A sink that hands out the tokens themselves, the one that stops included."""

    stopped = False

    def take(self, step: GeneratedToken) -> GeneratedToken:
        """The step."""
        return step

    def finish(self, usage: Usage, reason: FinishReason) -> FinishReason:
        """The reason of the end."""
        return reason


class Mailbox:
    """What is ready of one or several jobs, in order; one reader takes it, from any thread."""

    def __init__(self) -> None:
        self.items: deque[tuple[Generation, Any]] = deque()
        self.changed = threading.Condition()
        self.wake: Callable[[], None] | None = None  # instead of `changed`, of another loop
        self.open = 0  # jobs that are not done

    @property
    def wanting(self) -> bool:
        """Whether its reader could take more."""
        return self.open > 0 and len(self.items) < READY * self.open

    def put(self, job: "Generation", item: Any) -> None:
        """Add an item, and wake the reader."""
        with self.changed:
            self.items.append((job, item))
            self.changed.notify()
        if self.wake is not None:
            self.wake()


@dataclass(eq=False)
class Generation:
    """One request. `cache` is the caller's own, None: as the engine finds one.

    `error` is what ended it, if anything did.
    """

    request: Request
    sink: Sink
    cache: PromptCache | None = None
    mailbox: Mailbox = field(default_factory=Mailbox)
    number: int = field(default_factory=_numbers.__next__)
    state: State = "waiting"
    cancelled: bool = False
    error: BaseException | None = None
    usage: Usage = field(default_factory=Usage)
    read_tokens: int = 0
    came_s: float = field(default_factory=time.monotonic)
    began_s: float = 0.0

    def __post_init__(self) -> None:
        self.mailbox.open += 1

    @property
    def activity(self) -> "Activity":
        """Where it stands."""
        return Activity(
            number=self.number,
            state=self.state,
            prompt_tokens=len(self.request.ids),
            read_tokens=self.read_tokens,
            cached_tokens=self.usage.cached_tokens,
            completion_tokens=self.usage.completion_tokens,
            seconds=time.monotonic() - self.came_s,
        )

    def take(self, step: GeneratedToken) -> None:
        """Hand on a token, or progress."""
        self.usage = step.usage
        item = self.sink.take(step)
        if item is not None:
            self.mailbox.put(self, item)

    def end(self, reason: FinishReason | None, error: BaseException | None = None) -> None:
        """Nothing follows; the reader gets what is left, and the end."""
        if self.state == "done":
            return
        self.state = "done"
        self.error = error
        if reason is not None and error is None:
            try:
                item = self.sink.finish(self.usage, reason)
            except Exception as broken:  # it ends one request, not the others
                item, self.error = None, broken
            if item is not None:
                self.mailbox.put(self, item)
        with self.mailbox.changed:
            self.mailbox.open -= 1
        self.mailbox.put(self, END)


@dataclass(frozen=True)
class Activity:
    """A request that is not done, for those who watch.

    Of `prompt_tokens`, `read_tokens` are read, of which `cached_tokens` came from a cache;
    `seconds` have passed since it came.
    """

    number: int
    state: State
    prompt_tokens: int
    read_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float


# The last item of every request.
END: Any = object()
