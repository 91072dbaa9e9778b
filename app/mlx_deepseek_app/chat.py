"""What happens when a button is pressed: handlers as async generators of page states.

They poll the host, so a waiting tab costs no thread; they know the page only as `Page` values.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from mlx_deepseek_app import model, status
from mlx_deepseek_app.host import Host, Job
from mlx_deepseek_app.session import Conversation, Settings, rows

REFRESH_S = 0.08


@dataclass(frozen=True)
class Page:
    """A conversation with its meter; `busy` while a reply is on its way."""

    conversation: Conversation
    meter: str
    busy: bool = False


class Replies:
    """Makes replies for all tabs; remembers only the newest request of each, to drop older ones."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._newest: dict[str, Job] = {}
        self._kept = model.KeptCaches()

    async def answer(
        self, owner: str, conversation: Conversation, settings: Settings
    ) -> AsyncIterator[Page]:
        """Fill the open reply of `conversation`; ends early when this tab asks for another."""
        host = self._host
        host.replies.cancel(owner)
        asked = conversation

        def reply(engine: Any) -> Iterable[Any]:
            return model.reply(engine, asked, settings, self._kept.cache(owner, engine))

        job = host.stream(owner, reply)
        self._newest[owner] = job
        known = model.facts(host.engine)
        try:
            yield self._page(conversation, known, self._waiting(job), busy=True)
            while True:
                finished = job.finished
                if self._newest.get(owner) is not job:
                    return
                chunks = job.take()
                if chunks:
                    conversation = conversation.write(chunks)
                if finished:
                    break
                if chunks or not job.started:
                    yield self._page(conversation, known, self._waiting(job), busy=True)
                await asyncio.sleep(REFRESH_S)
            conversation = conversation.finish(stopped=job.cancelled, error=job.error)
            yield self._page(conversation, model.facts(host.engine))
        finally:
            job.cancel()
            if self._newest.get(owner) is job:
                del self._newest[owner]

    def stop(self, owner: str) -> None:
        """End this tab's reply; what was written stays."""
        self._host.replies.cancel(owner)

    def leave(self, owner: str) -> None:
        """The tab is gone, or starts over: end its reply and show no more of it."""
        self._newest.pop(owner, None)
        self._kept.drop(owner)
        self._host.replies.cancel(owner)

    def _waiting(self, job: Job) -> str:
        ahead = self._host.replies.ahead(job)
        if job.started or not ahead:
            return ""
        return "Waiting for another reply" if ahead == 1 else f"Waiting: {ahead} are ahead"

    def _page(
        self,
        conversation: Conversation,
        known: model.ModelFacts,
        note: str = "",
        busy: bool = False,
    ) -> Page:
        return Page(conversation, status.meter(conversation, known, note), busy)


def turn_index(conversation: Conversation, row: int | list[int] | tuple[int, ...]) -> int:
    """The turn that a message of the chat component belongs to."""
    row = row if isinstance(row, int) else row[0]
    owners = rows(conversation)[1]
    return owners[min(max(row, 0), len(owners) - 1)]


async def watch_load(host: Host, job: Job, source: str) -> AsyncIterator[str]:
    """HTML of a load's progress until it ends; the last one says how."""
    begin_s = time.monotonic()
    while not job.finished:
        yield status.progress(source, job.state, time.monotonic() - begin_s)
        await asyncio.sleep(0.2)
    known = model.facts(host.engine)
    if job.error:
        yield status.load_failed(source, job.error, known.name)
    elif job.cancelled:
        yield status.load_cancelled(source, known.name)
    else:
        yield status.loaded(known)
