"""Conversations while they are used: the replies that are made for them, and what waits to be said.

A reply belongs to its conversation, not to the tab that asked for it: it goes on whatever becomes
of the tab, and all tabs that show the conversation see it.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from mlx_deepseek.generation.job import Activity
from mlx_deepseek_app.chat.titles import entitle
from mlx_deepseek_app.chat.tool_calls import unasked
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.messages import Attached, Queued
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs import model_info
from mlx_deepseek_app.jobs.model_service import ModelService, stopping
from mlx_deepseek_app.jobs.queue import Job
from mlx_deepseek_app.storage.conversations import Conversations, SavedConversation
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tools.toolbox import Toolbox

SAVE_S = 0.7  # what a crash may lose, with some room to a second


@dataclass(eq=False)
class Talk:
    """A conversation that is shown, or answered by `job`; `version` grows with each change.

    `owner` is whose it is in the store. It is changed under `lock`, and read without.
    """

    owner: str = ""
    conversation: Conversation = field(default_factory=Conversation)
    settings: PanelSettings = field(default_factory=PanelSettings)
    model: str = ""
    job: Job | None = None
    queued: tuple[Queued, ...] = ()
    trouble: str = ""
    activity: Activity | None = None  # while the prompt is read
    forgotten: int = 0  # turns that the model was not sent
    deleted: bool = False
    kept: bool = False
    saved_s: float = 0.0
    version: int = 0
    lock: Any = field(default_factory=threading.RLock)

    @property
    def busy(self) -> bool:
        """Whether a reply is on its way."""
        return self.job is not None

    def put(self, conversation: Conversation) -> None:
        """Take another state."""
        self.conversation = conversation
        self.version += 1


class Replies:
    """Opens conversations, has them answered, and writes them to the store."""

    def __init__(
        self, service: ModelService, store: Store | None = None, toolbox: Toolbox | None = None
    ) -> None:
        self._service = service
        self._toolbox = toolbox or Toolbox()
        self._store = store or Store()
        # of those that a tab shows, or a job writes
        self._talks: WeakValueDictionary[str, Talk] = WeakValueDictionary()

    def new(self, tab: str) -> Talk:
        """A conversation that has not begun."""
        return Talk(self._store.owner(tab))

    def open(self, tab: str, key: str) -> Talk | None:
        """A conversation as it was left, or as it is being written; None if there is none.

        Raises:
            StoreError: it cannot be read.
        """
        talk = self._talks.get(key)
        if talk is not None and talk.busy and talk.owner == self._store.owner(tab):
            return talk
        saved = Conversations(self._store, self._store.owner(tab)).open(key)
        return None if saved is None else self.add(tab, saved)

    def add(self, tab: str, saved: SavedConversation) -> Talk:
        """A conversation that is in the store."""
        talk = self._talks.setdefault(saved.conversation.id, self.new(tab))
        with talk.lock:
            if not talk.busy:
                talk.put(saved.conversation)
                talk.settings, talk.model, talk.kept = saved.settings, saved.model, True
        return talk

    def send(
        self, talk: Talk, text: str, attached: Sequence[Attached], settings: PanelSettings
    ) -> None:
        """Say something: now, or when the reply that is on its way is there."""
        with talk.lock:
            talk.queued += (Queued(text, tuple(attached), settings),)
            talk.version += 1
            if not talk.busy:
                self._next(talk)

    def unqueue(self, talk: Talk, key: str) -> None:
        """Take back a message that was not sent yet."""
        with talk.lock:
            talk.queued = tuple(one for one in talk.queued if one.id != key)
            talk.version += 1

    def ask(
        self, talk: Talk, change: Callable[[Conversation], Conversation], settings: PanelSettings
    ) -> None:
        """Fill the reply that `change` opens; ends one that is on its way."""
        with talk.lock:
            self._settle(talk)
            talk.put(change(talk.conversation))
            talk.settings = settings
            self._talks[talk.conversation.id] = talk
            self._begin(talk)

    def change(
        self,
        talk: Talk,
        change: Callable[[Conversation], Conversation],
        keep: Callable[[Conversations, Conversation], None],
    ) -> None:
        """Change a conversation, and keep it so; ends a reply that is on its way.

        Raises:
            StoreError: it cannot be kept.
        """
        with talk.lock:
            self._settle(talk)
            talk.put(change(talk.conversation))
            keep(Conversations(self._store, talk.owner), talk.conversation)
            talk.deleted = not talk.conversation.nodes

    def stop(self, talk: Talk) -> None:
        """End the reply that is on its way; what was written stays."""
        if talk.job is not None:
            talk.job.cancel()

    def delete(self, tab: str, key: str) -> None:
        """Forget a conversation for good, and end its reply."""
        talk = self._talks.get(key)
        if talk is not None and talk.owner == self._store.owner(tab):
            with talk.lock:
                self._settle(talk)
                talk.queued, talk.deleted = (), True
        Conversations(self._store, self._store.owner(tab)).delete(key)

    def left(self, tab: str) -> None:
        """A tab was closed; where nothing is kept, its conversations and replies go with it."""
        if self._store.path is None:
            for talk in list(self._talks.values()):
                if talk.owner == tab:
                    talk.queued = ()
                    self.stop(talk)
        self._store.left(tab)

    # -- with the talk's lock ----------------------------------------------------------------

    def _next(self, talk: Talk) -> None:
        """Send what was queued first."""
        if talk.queued:
            first, *rest = talk.queued
            self.ask(talk, lambda now: now.ask(first.text, first.attached), first.settings)
            talk.queued = tuple(rest)

    def _begin(self, talk: Talk) -> None:
        conversation, settings = talk.conversation, talk.settings
        thought_s = conversation.messages[-1].thinking_s or 0.0  # of a reply that is gone on with
        talk.kept = False  # also where another process has deleted it meanwhile
        self._save(talk)

        def work(engine: Any, job: Job) -> None:
            job.began_s -= thought_s
            tools = self._toolbox.offered() if settings.use_tools else ()
            asked = model_info.prepared(engine, conversation, settings, tools)
            own = self._service.caches.cache(conversation.id, engine)
            talk.forgotten = asked.forgotten
            chunks = asked.start(engine, own)
            for chunk in stopping(job, chunks):
                with talk.lock:
                    if talk.job is not job:
                        return
                    talk.activity = (
                        activity(chunks) if not getattr(chunk, "says_something", True) else None
                    )
                    talk.put(talk.conversation.write([(job.elapsed_s, chunk)]))
                    if time.monotonic() - talk.saved_s > SAVE_S:
                        self._save(talk)

        def done(job: Job) -> None:
            ended = bool(job.error) or job.cancelled or talk.job is not job
            # tools that may run unasked take their time: the reply is on its way until then
            given = None if ended else unasked(talk.conversation.finish(), self._toolbox)
            with talk.lock:
                if talk.job is not job:
                    return
                self._finish(talk, stopped=job.cancelled, error=job.error)
                if given is not None and not job.cancelled:
                    self.ask(talk, lambda now: now.ask(given), settings)
                elif not job.error:
                    self._next(talk)
                    if not talk.busy:
                        entitle(self._service, self._store, talk.owner, talk.conversation)

        talk.job = self._service.ask(talk.owner, work, done)

    def _settle(self, talk: Talk) -> None:
        """End a reply at once, whatever its job still does."""
        if talk.job is not None:
            talk.job.cancel()
            self._finish(talk, stopped=True)

    def _finish(self, talk: Talk, *, stopped: bool, error: str = "") -> None:
        talk.job = talk.activity = None
        talk.put(talk.conversation.finish(stopped=stopped, error=error))
        self._save(talk)

    def _save(self, talk: Talk) -> None:
        """Write the reply so far; what hinders that is said, and does not end the reply."""
        talk.saved_s, talk.model = time.monotonic(), self._service.source
        mine = Conversations(self._store, talk.owner)
        try:
            mine.save(talk.conversation, talk.settings, talk.model, new=not talk.kept)
            talk.kept, talk.trouble = True, ""
        except StoreError as error:
            talk.trouble = f"Not saved: {error}"


def activity(chunks: Any) -> Activity | None:
    """Where a request stands; None where nobody knows, as of a picture."""
    return getattr(chunks, "activity", None)


def unseen(conversation: Conversation, known: model_info.ModelFacts) -> str:
    """That a model without eyes has answered a conversation with pictures; "" if it has not."""
    blind = conversation.pictured and not known.sees
    return f"{known.name} sees no pictures: it was given the words alone" if blind else ""
