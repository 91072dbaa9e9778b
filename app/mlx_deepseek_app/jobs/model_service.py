"""The one model in memory, and what the tabs want of it.

Every tab shares the model. Work is done on threads of its own; the page polls a `Job`.
"""

import gc
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from mlx_deepseek.errors import DeepSeekError, MemoryLimitError
from mlx_deepseek.runtime import memory
from mlx_deepseek_app.jobs.model_info import ConversationCaches
from mlx_deepseek_app.jobs.queue import Cancelled, Job, JobQueue

Loader = Callable[..., Any]


def reporter(job: Job, make_room: Callable[[int], None]) -> Callable[[str, int, int], None]:
    """Notes a load's progress in its job, and ends it when it is cancelled.

    `make_room` is told the bytes that weights take before they are read.
    """

    def progress(stage: str, done: int, total: int) -> None:
        if job.cancelled:
            raise Cancelled
        job.state = (stage, done, total)
        if stage == "load":
            make_room(total)

    return progress


def stopping(job: Job, chunks: Iterable[Any]) -> Iterator[Any]:
    """The chunks until the job is cancelled; the stream is closed in the end."""
    try:
        for chunk in chunks:
            if job.cancelled:
                break
            yield chunk
    finally:
        if isinstance(chunks, Generator):
            chunks.close()


class ModelService:
    """Holds the engine; `loader(source, progress=...)` makes one (`mlx_deepseek.load`).

    Answers are made side by side, by the engine's scheduler; loads wait for each other, and keep
    nobody from chatting. `caches` are those of the conversations.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.replies = JobQueue("mlx-deepseek-replies")
        self.loads = JobQueue("mlx-deepseek-loads", at_once=1)
        self.engine: Any = None
        self.source = ""
        self.caches = ConversationCaches()
        self.first_load: Job | None = None
        self.first_source = ""

    def start(self, source: str) -> Job:
        """Begin with this model; pages opened meanwhile watch `first_load`."""
        self.first_source = source
        self.first_load = self.load("", source)
        return self.first_load

    def load(self, owner: str, source: str, recipe: str | None = None) -> Job:
        """Load `source` in place of the engine; the job's `state` is its progress.

        The old engine stays until the new one is there, and if that fails; where memory does not
        suffice for both, it goes before weights are read.
        """
        options = {} if recipe is None else {"recipe": recipe}

        def run(job: Job) -> None:
            with ExitStack() as until_loaded:

                def make_room(nbytes: int) -> None:
                    if not memory.fits_beside(nbytes):
                        until_loaded.enter_context(self.replies.paused())
                        self._let_go()

                progress = reporter(job, make_room)
                engine = self._loader(source, progress=progress, **options)
                self.engine, self.source = engine, source

        return self.loads.submit(Job(owner, run))

    def load_beside(self, owner: str, source: str) -> Job:
        """Load `source` beside the engine in memory, which stays; the job yields it."""

        def require_room(nbytes: int) -> None:
            if not memory.fits_beside(nbytes):
                raise MemoryLimitError(
                    f"{source}: its weights take {nbytes / 1e9:.1f} GB, which do not fit beside "
                    f"{self.source or 'what is in memory'}. Load a smaller model for the chat, or "
                    "compare with one."
                )

        def run(job: Job) -> None:
            job.put(self._loader(source, progress=reporter(job, require_room)))

        return self.loads.submit(Job(owner, run))

    def unload(self) -> None:
        """Let go of the model in memory, and of a reply that it is making."""
        with self.replies.paused():
            self._let_go()

    def close(self) -> None:
        """End all work and its threads, so that the process can end in peace."""
        for queue in (self.loads, self.replies):
            queue.close()
        self._let_go()

    def ask(
        self,
        owner: str,
        work: Callable[[Any, Job], None],
        done: Callable[[Job], None] = lambda job: None,
        *,
        idle: bool = False,
    ) -> Job:
        """Run `work(engine, job)` with the model in memory; `idle`: when nothing else runs."""

        def run(job: Job) -> None:
            if self.engine is None:
                raise DeepSeekError(
                    "No model is loaded. Choose one in the message box, or on the Models page."
                )
            work(self.engine, job)

        return self.replies.submit(Job(owner, run, done, idle))

    def stream(self, owner: str, reply: Callable[[Any], Iterable[Any]]) -> Job:
        """Run `reply(engine)`, a stream of chunks; the job yields them."""

        def work(engine: Any, job: Job) -> None:
            for chunk in stopping(job, reply(engine)):
                job.put(chunk)

        return self.ask(owner, work)

    def _let_go(self) -> None:
        close = getattr(self.engine, "close", None)
        self.engine, self.source = None, ""
        self.caches.clear()
        if close is not None:
            close()
        gc.collect()  # an engine and its caches refer to each other
