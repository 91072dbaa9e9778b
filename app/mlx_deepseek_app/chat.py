"""What happens when a button is pressed: handlers as async generators of page states.

They poll the host, so a waiting tab costs no thread; they know the page only as `Page` values.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from mlx_deepseek_app import model, status
from mlx_deepseek_app.database import StoreError
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.lane import Job
from mlx_deepseek_app.session import Conversation, Settings
from mlx_deepseek_app.store import Store
from mlx_deepseek_app.transcript import rows

REFRESH_S = 0.08
SAVE_S = 0.7  # what a crash may lose, with some room to a second


@dataclass(frozen=True)
class Page:
    """A conversation with its meter; `busy` while a reply is on its way.

    `listed`: the list of conversations may have changed with it.
    """

    conversation: Conversation
    meter: str
    busy: bool = False
    listed: bool = True


@dataclass
class Writing:
    """A reply that is being made; `saved_s` is when it was last written to the store."""

    job: Job
    conversation: Conversation
    settings: Settings
    saved_s: float = 0.0

    def take(self) -> bool:
        """Move what the model has written into the conversation; False if that is nothing."""
        chunks = self.job.take()
        if chunks:
            self.conversation = self.conversation.write(chunks)
        return bool(chunks)


class Replies:
    """Makes replies for all tabs, one at a time for each, and writes them to the store."""

    def __init__(self, host: Host, store: Store | None = None) -> None:
        self._host = host
        self._store = store or Store()
        self._open: dict[str, Writing] = {}
        self._saving = threading.Lock()  # so that nobody writes an older state over a newer one

    async def answer(
        self, owner: str, conversation: Conversation, settings: Settings
    ) -> AsyncIterator[Page]:
        """Fill the open reply of `conversation`; ends early when this tab asks for another."""
        self.leave(owner)
        mine = self._open[owner] = self._begin(owner, conversation, settings)
        known = model.facts(self._host.engine)
        try:
            trouble = self._save(owner, mine, new=True)
            note = trouble or self._waiting(mine.job)
            yield self._page(mine.conversation, known, note, busy=True)
            while not mine.job.finished:
                await asyncio.sleep(REFRESH_S)
                if self._open.get(owner) is not mine:
                    return
                news = mine.take()
                if news and time.monotonic() - mine.saved_s > SAVE_S:
                    trouble = await asyncio.to_thread(self._save, owner, mine)
                if news or not mine.job.started:
                    note = trouble or self._waiting(mine.job)
                    yield self._page(mine.conversation, known, note, busy=True, listed=False)
            if self._open.get(owner) is not mine:
                return
            del self._open[owner]
            trouble = self._finish(owner, mine) or unseen(mine.conversation, known)
            yield self._page(mine.conversation, model.facts(self._host.engine), trouble)
        finally:
            if self._open.get(owner) is mine:
                self.leave(owner)

    def stop(self, owner: str) -> None:
        """End this tab's reply; what was written stays."""
        self._host.replies.cancel(owner)

    def leave(self, owner: str) -> Conversation | None:
        """The tab is gone, or turns to something else: end its reply and show no more of it.

        Returns the conversation as it was kept, if a reply was being made.
        """
        self._host.replies.cancel(owner)
        mine = self._open.pop(owner, None)
        if mine is None:
            return None
        self._finish(owner, mine)
        return mine.conversation

    def _begin(self, owner: str, conversation: Conversation, settings: Settings) -> Writing:
        thought_s = conversation.turns[-1].thinking_s or 0.0  # of a reply that is gone on with

        def reply(engine: Any) -> Iterable[Any]:
            kept = self._host.kept.cache(conversation.id, engine)
            return model.reply(engine, conversation, settings, kept)

        return Writing(self._host.stream(owner, reply, thought_s), conversation, settings)

    def _finish(self, owner: str, mine: Writing) -> str:
        mine.take()
        job = mine.job
        stopped = job.cancelled or not job.finished
        mine.conversation = mine.conversation.finish(stopped=stopped, error=job.error)
        return self._save(owner, mine)

    def _save(self, owner: str, mine: Writing, new: bool = False) -> str:
        """Write the reply so far; what hinders that is said, and does not end the reply."""
        mine.saved_s = time.monotonic()
        try:
            self._store.of(owner).save(mine.conversation, mine.settings, self._host.source, new=new)
        except StoreError as error:
            return f"Not saved: {error}"
        return ""

    def _waiting(self, job: Job) -> str:
        ahead = self._host.replies.ahead(job)
        if job.started or not ahead:
            return ""
        return "Waiting for another reply" if ahead == 1 else f"Waiting: {ahead} are ahead"

    def _page(
        self, conversation: Conversation, known: model.ModelFacts, note: str, **flags: bool
    ) -> Page:
        return Page(conversation, status.meter(conversation, known, note), **flags)


def unseen(conversation: Conversation, known: model.ModelFacts) -> str:
    """That a model without eyes has answered a conversation with pictures; "" if it has not."""
    blind = conversation.pictured and not known.sees
    return f"{known.name} sees no pictures: it was given the words alone" if blind else ""


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
