"""The models page: find a model, get it, load it, let go of it, delete it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from mlx_deepseek_app import library, status
from mlx_deepseek_app.events import FREE, QUIET
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.lane import Job
from mlx_deepseek_app.shelf import shelf

ABILITIES = ("chat", "thinking", "tools", "fills in code", "pictures", "documents", "proves")
ANYTHING = "anything"
REFRESH_S = 0.25
OWNER = "models"  # of loads: the model is everybody's, and outlives the tab that asked for it
PAUSE = '<button data-act="pause" data-repo="" aria-label="Pause loading">Pause</button>'
DROP = '<button data-act="drop" data-repo="" aria-label="Cancel loading">Cancel</button>'


@dataclass
class Getting:
    """A model on its way; `dropped` if what was downloaded is to be removed at its end."""

    card: library.Card
    recipe: str
    job: Job
    dropped: bool = False


class ModelsPage:
    """Components and handlers of the page; `changed` fires when a button has done its work."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._getting: Getting | None = None
        with gr.Column(elem_id="models"):
            with gr.Row(elem_id="models-filter"):
                self.words = gr.Textbox(
                    label="Find a model",
                    placeholder="Name, family or licence",
                    elem_id="models-words",
                    max_length=200,
                )
                self.ability = gr.Dropdown(
                    [ANYTHING, *ABILITIES],
                    value=ANYTHING,
                    label="That can do",
                    elem_id="models-ability",
                )
                self.fitting = gr.Checkbox(
                    label="Only what fits here", value=True, elem_id="models-fitting"
                )
            self.room = gr.HTML("", elem_id="models-room")
            self.outcome = gr.HTML("", elem_id="models-outcome")
            self.list = gr.HTML("", elem_id="models-list")
            # what page.js fills in when a button of a card is pressed
            with gr.Row(elem_id="models-hidden"):
                self.act = gr.Textbox(elem_id="models-act", label="action", container=False)
                self.go = gr.Button("go", elem_id="models-go")
        self.filters: list[Any] = [self.words, self.ability, self.fitting]
        self.shown: list[Any] = [self.room, self.list]
        for change in (self.words.change, self.ability.change, self.fitting.change):
            change(self.on_filter, self.filters, self.shown, queue=False, **QUIET)
        self.changed = self.go.click(
            self.on_act,
            [self.act, *self.filters],
            [self.outcome, *self.shown],
            trigger_mode="multiple",  # a load is paused while its button's work lasts
            **FREE,
        )

    def on_filter(self, words: str | None, ability: str, fitting: bool) -> tuple[str, str]:
        """What the filters leave, and the room on this machine."""
        return self._room(), self._shelf(words, ability, fitting)

    async def on_open(self, words: str, ability: str, fitting: bool) -> AsyncIterator[tuple]:
        """A page was opened: show what there is, and how far a model on its way is."""
        yield gr.skip(), *self.on_filter(words, ability, fitting)
        if self._busy is not None:
            async for html in self._follow(self._busy):
                yield html, gr.skip(), gr.skip()
            yield gr.skip(), *self.on_filter(words, ability, fitting)

    async def on_act(
        self, act: str, words: str, ability: str, fitting: bool
    ) -> AsyncIterator[tuple]:
        """A button: "get repo recipe", "delete repo", "discard repo", "unload", "pause", "drop"."""
        action, _, rest = act.partition(" ")
        repo, _, recipe = rest.partition(" ")
        if action in ("pause", "drop"):
            self._end(dropped=action == "drop")
            yield (gr.skip(),) * 3  # what follows the load shows how it ended
            return
        async for note in self._done(action, repo, recipe):
            yield note, gr.skip(), gr.skip()
        yield gr.skip(), *self.on_filter(words, ability, fitting)

    async def _done(self, action: str, repo: str, recipe: str) -> AsyncIterator[str]:
        card = next((card for card in library.cards() if card.repo == repo), None)
        if action == "unload":
            name = getattr(self.host.engine, "name", "")
            await asyncio.to_thread(self.host.unload)
            yield status.said(f"{name} is no longer in memory.") if name else ""
        elif card is None:
            return
        elif action == "delete":
            yield await asyncio.to_thread(self._delete, card)
        elif action == "discard":
            freed = await asyncio.to_thread(library.discard, card)
            yield status.said(f"{library.gigabytes(freed)} of {repo} were removed.")
        elif action == "get" and recipe in library.RECIPES:
            if (busy := self._busy) is not None:
                yield status.failed(f"{busy.card.repo} is on its way. Pause or cancel it first.")
                return
            job = self.host.load(OWNER, *library.source(card, recipe))
            self._getting = Getting(card, recipe, job)
            async for html in self._follow(self._getting):
                yield html

    @property
    def _busy(self) -> Getting | None:
        """The model on its way, if there is one."""
        getting = self._getting
        return None if getting is None or getting.job.finished else getting

    def _end(self, *, dropped: bool) -> None:
        if self._busy is not None:
            self._busy.dropped = dropped
            self.host.loads.cancel(OWNER)

    async def _follow(self, getting: Getting) -> AsyncIterator[str]:
        """HTML of a load's progress until it ends, with what can be done; the last says how."""
        begin_s = time.monotonic()
        job, repo = getting.job, getting.card.repo
        while not job.finished:
            yield status.progress(repo, job.state, time.monotonic() - begin_s) + PAUSE + DROP
            await asyncio.sleep(REFRESH_S)
        if getting.dropped:
            await asyncio.to_thread(library.discard, getting.card)
        yield self._ended(getting)

    def _delete(self, card: library.Card) -> str:
        if card.repo == self._repo():
            return status.load_failed(card.repo, "It is in memory. Unload it first.", "")
        try:
            freed = library.delete(card)
        except OSError as error:
            return status.load_failed(card.repo, f"Could not be deleted: {error}.", "")
        return status.said(f"{card.name} was deleted; {library.gigabytes(freed)} are free again.")

    def _ended(self, getting: Getting) -> str:
        repo, job = getting.card.repo, getting.job
        if job.error:
            return status.load_failed(repo, job.error, getattr(self.host.engine, "name", ""))
        if getting.dropped:
            return status.said(f"{repo} was cancelled; nothing of it is kept.")
        if job.cancelled:
            return status.said(f"{repo} is paused; what was downloaded is kept.")
        return status.said(f"{repo} is in memory.")

    def _shelf(self, words: str | None, ability: str, fitting: bool) -> str:
        wanted = "" if ability == ANYTHING else ability
        found = library.matching(library.cards(), words or "", wanted, only_fitting=fitting)
        # once turned around: what is here, then what can be run, the newest of each first
        found.sort(key=lambda card: (card.here, bool(card.begun), card.runs))
        return shelf(found[::-1], self._repo(), library.free_disk_bytes())

    def _repo(self) -> str:
        return getattr(getattr(self.host.engine, "entry", None), "repo", "")

    def _room(self) -> str:
        usable, disk = library.usable_memory_bytes(), library.free_disk_bytes()
        free = "unknown" if disk is None else library.gigabytes(disk)
        name = getattr(self.host.engine, "name", "")
        return status.room(library.gigabytes(usable), free) + status.in_memory(name)
