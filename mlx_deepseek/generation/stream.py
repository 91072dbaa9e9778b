"""An answer on its way: what `Engine.stream`, `Engine.astream` and `Chat.stream` hand out."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from mlx_deepseek.generation.job import Activity
from mlx_deepseek.generation.results import Chunk


class Stream(Generator[Chunk, None, None]):
    """Chunks of an answer. Closing it stops the generation, as leaving a `with` block does.

    Any thread may take the next chunk, or close; one at a time gets its turn.
    """

    def __init__(
        self,
        chunks: Generator[Chunk],
        cancel: Callable[[], None] | None = None,
        activity: Callable[[], Activity] | None = None,
    ):
        """`cancel` lets a thread that waits for a chunk give up, so that another can close."""
        self._chunks = chunks
        self._cancel = cancel
        self._activity = activity
        self._turn = threading.RLock()

    @property
    def activity(self) -> Activity | None:
        """Where the request stands, e.g. how much of its prompt is read; None: nobody knows."""
        return None if self._activity is None else self._activity()

    def send(self, value: None = None) -> Chunk:
        """The next chunk."""
        with self._turn:
            return self._chunks.send(value)

    def throw(self, *error: Any) -> Chunk:
        """Let the generation end with an error."""
        with self._turn:
            return self._chunks.throw(*error)

    def close(self) -> None:
        """Stop the generation; it ends before this returns."""
        if self._cancel is not None:
            self._cancel()
        with self._turn:
            self._chunks.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class AsyncStream(AsyncGenerator[Chunk, None]):
    """Chunks of an answer for `async for`; nothing is done before the first is asked for.

    Closing it, or cancelling the task that waits for a chunk, stops the generation.
    """

    def __init__(self, start: Callable[[], AsyncGenerator[Chunk]]):
        self._start = start
        self._chunks: AsyncGenerator[Chunk] | None = None
        self._closed = False

    async def asend(self, value: None = None) -> Chunk:
        """The next chunk."""
        if self._closed:
            raise StopAsyncIteration
        try:
            if self._chunks is None:  # pictures and long texts take their time
                self._chunks = await asyncio.to_thread(self._start)
            return await anext(self._chunks)
        except BaseException:
            await self.aclose()
            raise

    async def athrow(self, *error: Any) -> Chunk:
        """Stop the generation, and raise the error."""
        await self.aclose()
        raise error[0]

    async def aclose(self) -> None:
        """Stop the generation; it ends before this returns."""
        self._closed = True
        if self._chunks is not None:
            await self._chunks.aclose()

    async def __aenter__(self) -> "AsyncStream":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()
