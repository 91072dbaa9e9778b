"""The one model in memory, and what the tabs want of it.

Every tab shares the model. Work is done on threads of the host; the page polls a `Job`.
"""

import gc
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from typing import Any

from mlx_deepseek import memory
from mlx_deepseek.errors import DeepSeekError, MemoryLimitError
from mlx_deepseek_app.lane import Cancelled, Job, Lane
from mlx_deepseek_app.model import KeptCaches

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


class Host:
    """Holds the engine; `loader(source, progress=...)` makes one (`mlx_deepseek.load`).

    Replies wait for each other, and loads do; a download does not keep anybody from chatting.
    `kept` are the conversations' caches.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.replies = Lane("mlx-deepseek-replies")
        self.loads = Lane("mlx-deepseek-loads")
        self.engine: Any = None
        self.source = ""
        self.kept = KeptCaches()
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
                        until_loaded.enter_context(self.replies.held())
                        self._let_go()

                progress = reporter(job, make_room)
                engine = self._loader(source, progress=progress, **options)
                self.engine, self.source = engine, source

        return self.loads.submit(Job(owner, run))

    def borrow(self, owner: str, source: str) -> Job:
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
        with self.replies.held():
            self._let_go()

    def stream(
        self,
        owner: str,
        reply: Callable[[Any], Iterable[Any]],
        ahead_s: float = 0.0,
        *,
        long: bool = False,
    ) -> Job:
        """Run `reply(engine)`, a stream of chunks, when its turn comes; the job yields them.

        `ahead_s` is added to their times. After each chunk of a `long` one others go first.
        """

        def run(job: Job) -> None:
            if self.engine is None:
                raise DeepSeekError("No model is loaded. Choose one under Settings, Model.")
            chunks = reply(self.engine)
            try:
                job.began_s -= ahead_s
                for chunk in chunks:
                    job.put(chunk)
                    if long and not job.cancelled:
                        self.replies.give_way()
                    if job.cancelled:
                        break
            finally:
                if isinstance(chunks, Generator):
                    chunks.close()

        return self.replies.submit(Job(owner, run, long=long))

    def _let_go(self) -> None:
        self.engine, self.source = None, ""
        self.kept.clear()
        gc.collect()  # an engine and its caches refer to each other
