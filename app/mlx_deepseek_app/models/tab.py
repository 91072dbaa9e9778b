"""The models page: find a model, get it, load it, let go of it, delete it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.models import cards
from mlx_deepseek_app.models.cards_html import cards_html, proposed_html, room_html
from mlx_deepseek_app.models.loads import Loads
from mlx_deepseek_app.models.proposals import ORDERS, ordered, proposals
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.column_html import head_html
from mlx_deepseek_app.widgets.event_options import FREE, owner

Updates = dict[Any, Any]
ABILITIES = ("chat", "thinking", "tools", "fills in code", "pictures", "documents", "proves")
ANYTHING = "anything"
LOOKING = '<p class="room" role="status">Looking at what fits this machine…</p>'
ABOUT = "Every open DeepSeek model, and what of it this machine can run."
# gradio looks in the script for the names of events, quoted
SCRIPT = """shell.cards(element, watch, {
  get: (data) => trigger('get', data), change: (data) => trigger('rearrange', data),
});"""


class ModelsTab:
    """Components and handlers of the page.

    `got` and `changed` fire when a button has done its work: a load, or something else.
    """

    def __init__(self, service: ModelService, loads: Loads) -> None:
        self.service = service
        self.loads = loads
        self._asked: dict[str, object] = {}  # the newest question of each tab
        with gr.Column(elem_id="models", elem_classes="see"):
            gr.HTML(head_html("Models", ABOUT), elem_classes="page-head")
            self.room = gr.HTML("", elem_id="models-room")
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
                self.order = gr.Dropdown(
                    list(ORDERS), value=next(iter(ORDERS)), label="Order", elem_id="models-order"
                )
                self.fitting = gr.Checkbox(
                    label="Only what fits here", value=True, elem_id="models-fitting"
                )
            self.outcome = gr.HTML("", elem_id="models-outcome")
            self.list = gr.HTML(LOOKING, elem_id="models-list", js_on_load=SCRIPT)
        self.filters: list[Any] = [self.words, self.ability, self.order, self.fitting]
        self.shown: list[Any] = [self.room, self.list]
        for filtered in self.filters:
            filtered.change(
                self.on_filter, self.filters, self.shown, trigger_mode="always_last", **FREE
            )

    def wire(self, shown_load: gr.HTML) -> None:
        """Connect the cards with what shows a load in the column."""
        self._column = shown_load
        every: dict[str, Any] = {"trigger_mode": "multiple", **FREE}
        got = [shown_load, self.outcome, *self.shown]
        self.got = self.list.get(self.on_get, self.filters, got, **every)
        changed = [self.outcome, *self.shown]
        self.changed = self.list.rearrange(self.on_change, self.filters, changed, **every)

    # -- handlers ----------------------------------------------------------------------------

    async def on_filter(
        self, request: gr.Request, words: str | None, ability: str, order: str, fitting: bool
    ) -> Updates:
        """What the filters leave, and the room here; an older answer never comes last."""
        tab = owner(request)
        mine = self._asked[tab] = object()
        listed = await asyncio.to_thread(self._listed, words or "", ability, order, fitting)
        if self._asked.get(tab) is not mine:
            return {self.room: gr.skip()}
        return {self.room: self._room(), self.list: listed}

    async def on_get(
        self, request: gr.Request, event: gr.EventData, *filters: Any
    ) -> AsyncIterator[Updates]:
        """Get, Load or Resume was pressed on a card, with a recipe chosen."""
        card = await asyncio.to_thread(self._card, str(event.repo))
        if card is None or (event.recipe and event.recipe not in cards.RECIPES):
            return
        source, recipe = cards.source(card, str(event.recipe))
        load = self.loads.begin(source, card, recipe)
        async for html in self.loads.follow(load):
            yield {self._column: html}
        yield {self.outcome: "", **await self.on_filter(request, *filters)}

    async def on_change(self, request: gr.Request, event: gr.EventData, *filters: Any) -> Updates:
        """Delete, Discard or Unload was pressed."""
        note = await asyncio.to_thread(self._changed, str(event.act), str(event.repo))
        return {self.outcome: note, **await self.on_filter(request, *filters)}

    def on_close(self, request: gr.Request) -> None:
        """The browser's tab was closed."""
        self._asked.pop(owner(request), None)

    # -- what is shown -----------------------------------------------------------------------

    def _changed(self, act: str, repo: str) -> str:
        card = self._card(repo)
        if act == "unload":
            name = getattr(self.service.engine, "name", "")
            self.service.unload()
            return status.said(f"{name} is no longer in memory.") if name else ""
        if act == "discard" and card is not None:
            freed = cards.discard(card)
            return status.said(f"{cards.gigabytes(freed)} of {repo} were removed.")
        return self._delete(card) if act == "delete" and card is not None else ""

    def _card(self, repo: str) -> cards.Card | None:
        return next((card for card in cards.cards() if card.repo == repo), None)

    def _delete(self, card: cards.Card) -> str:
        if card.repo == self._repo():
            return status.load_failed(card.repo, "It is in memory. Unload it first.", "")
        try:
            freed = cards.delete(card)
        except OSError as error:
            return status.load_failed(card.repo, f"Could not be deleted: {error}.", "")
        return status.said(f"{card.name} was deleted; {cards.gigabytes(freed)} are free again.")

    def _listed(self, words: str, ability: str, order: str, fitting: bool) -> str:
        wanted = "" if ability == ANYTHING else ability
        every = cards.cards()
        found = cards.matching(every, words, wanted, only_fitting=fitting)
        hidden = len(cards.matching(every, words, wanted)) - len(found)
        disk = cards.free_disk_bytes()
        first = proposals(every) if not words and not wanted else {}
        rest = [card for card in ordered(found, order) if card not in first.values()]
        return proposed_html(first, self._repo(), disk) + cards_html(
            rest, self._repo(), disk, hidden
        )

    def _repo(self) -> str:
        engine = self.service.engine
        return getattr(getattr(engine, "entry", None), "repo", "") or self.service.source

    def _room(self) -> str:
        usable, disk = cards.usable_memory_bytes(), cards.free_disk_bytes()
        free = "unknown" if disk is None else cards.gigabytes(disk)
        name = getattr(self.service.engine, "name", "")
        return room_html(cards.gigabytes(usable), free, name)
