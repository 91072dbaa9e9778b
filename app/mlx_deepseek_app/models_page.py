"""The models page: find a model, get it, load it, delete it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek_app import library, status
from mlx_deepseek_app.events import FREE, QUIET
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.lane import Job
from mlx_deepseek_app.shelf import shelf

ABILITIES = ("chat", "thinking", "tools", "fills in code", "pictures", "documents", "proves")
ANYTHING = "anything"
REFRESH_S = 0.25
PAUSE = '<button data-act="cancel" data-repo="" aria-label="Pause loading">Pause</button>'


class ModelsPage:
    """Components and handlers of the page; `changed` fires when a button has done its work."""

    def __init__(self, host: Host) -> None:
        self.host = host
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
            self.on_act, [self.act, *self.filters], [self.outcome, *self.shown], **FREE
        )

    def on_filter(self, words: str | None, ability: str, fitting: bool) -> tuple[str, str]:
        """What the filters leave, and the room on this machine."""
        return self._room(), self._shelf(words, ability, fitting)

    async def on_act(
        self, request: gr.Request, act: str, words: str, ability: str, fitting: bool
    ) -> AsyncIterator[tuple]:
        """A button of a card: "get repo recipe", "delete repo" or "cancel repo"."""
        action, _, rest = act.partition(" ")
        repo, _, recipe = rest.partition(" ")
        card = next((card for card in library.cards() if card.repo == repo), None)
        owner = f"models {request.session_hash}"
        if action == "cancel":
            self.host.loads.cancel(owner)
        if card is None:
            yield gr.skip(), gr.skip(), gr.skip()
        elif action == "delete":
            note = await asyncio.to_thread(self._delete, card)
            yield note, *self.on_filter(words, ability, fitting)
        elif action == "get" and recipe in library.RECIPES:
            job = self.host.load(owner, *library.source(card, recipe))
            async for html in watch(job, repo):
                yield html, gr.skip(), gr.skip()
            yield self._ended(job, repo), *self.on_filter(words, ability, fitting)

    def _delete(self, card: library.Card) -> str:
        if card.repo == self._repo():
            return status.load_failed(card.repo, "It is in memory. Load another model first.", "")
        try:
            freed = library.delete(card)
        except OSError as error:
            return status.load_failed(card.repo, f"Could not be deleted: {error}.", "")
        return status.said(f"{card.name} was deleted; {library.gigabytes(freed)} are free again.")

    def _ended(self, job: Job, repo: str) -> str:
        kept = getattr(self.host.engine, "name", "")
        if job.error:
            return status.load_failed(repo, job.error, kept)
        if job.cancelled:
            return status.said(f"{repo} is paused; what was downloaded is kept.")
        return status.said(f"{repo} is in memory.")

    def _shelf(self, words: str | None, ability: str, fitting: bool) -> str:
        wanted = "" if ability == ANYTHING else ability
        found = library.matching(library.cards(), words or "", wanted, only_fitting=fitting)
        # once turned around: what is here, then what can be run, the newest of each first
        found.sort(key=lambda card: (card.here, card.runs))
        return shelf(found[::-1], self._repo())

    def _repo(self) -> str:
        return getattr(getattr(self.host.engine, "entry", None), "repo", "")

    def _room(self) -> str:
        usable = library.usable_memory_bytes()
        try:
            disk = library.gigabytes(library.free_disk_bytes())
        except (OSError, DeepSeekError):
            disk = "unknown"
        return status.room(library.gigabytes(usable), disk)


async def watch(job: Job, repo: str) -> AsyncIterator[str]:
    """HTML of a load's progress until it ends, with a button that pauses it."""
    begin_s = time.monotonic()
    while not job.finished:
        yield status.progress(repo, job.state, time.monotonic() - begin_s) + PAUSE
        await asyncio.sleep(REFRESH_S)
