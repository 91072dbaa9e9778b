"""The column of conversations beside the chat, and what its controls do."""

import json
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from mlx_deepseek_app import model, portable
from mlx_deepseek_app.chat import Page, Replies
from mlx_deepseek_app.conversations import Kept
from mlx_deepseek_app.database import StoreError
from mlx_deepseek_app.events import owner
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.listing import alert, list_html
from mlx_deepseek_app.session import Conversation
from mlx_deepseek_app.settings import SettingsPanel
from mlx_deepseek_app.sources import choices
from mlx_deepseek_app.status import meter
from mlx_deepseek_app.store import Store

# gradio looks in the script for the names of events, quoted
LIST_SCRIPT = """conversations.list(element, watch, {
  open: (data) => trigger('open', data), arrange: (data) => trigger('arrange', data),
  take: (data) => trigger('take', data), bring: (data) => trigger('bring', data),
});"""
TURNS_SCRIPT = "conversations.turns(props, watch, (data) => trigger('turn', data));"
PARCEL_SCRIPT = "conversations.parcel(props, watch);"
AT_ONCE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}

# what shows a page in a tab that searches for something
Show = Callable[[Page, str, str], tuple]


class Drawer:
    """`turns` and `parcel` are for the script: versions of messages, and a file to save."""

    def __init__(self, host: Host, store: Store, replies: Replies) -> None:
        self._host = host
        self._store = store
        self._replies = replies
        with gr.Column(elem_id="drawer", min_width=0):
            self.new = gr.Button("New chat", elem_id="new-button", size="sm")
            self.query = gr.Textbox(
                elem_id="search",
                label="Search conversations",
                show_label=False,
                container=False,
                placeholder="Search",
                max_length=200,
            )
            self.note = gr.HTML(alert(store.notice), elem_id="drawer-note")
            self.list = gr.HTML("", elem_id="conversations", js_on_load=LIST_SCRIPT)
            gr.Button("Import", elem_id="import-button", size="sm")
        # without a template: what they hold never becomes part of the page
        self.turns = gr.HTML("", elem_id="turns", html_template="", js_on_load=TURNS_SCRIPT)
        self.parcel = gr.HTML("", elem_id="parcel", html_template="", js_on_load=PARCEL_SCRIPT)

    def wire(self, talk: gr.State, shown: list[Any], panel: SettingsPanel, show: Show) -> None:
        """Connect the controls with the chat; `show` gives the values of `shown`."""
        self._show = show
        self._panel = panel
        past = [*shown, self.note, panel.picker, *panel.knobs]
        self.list.open(self.on_open, self.query, past, **AT_ONCE)
        self.list.bring(self.on_bring, self.query, past, **AT_ONCE)
        self.list.take(self.on_take, None, [self.parcel, self.note], **AT_ONCE)
        both = [self.query, talk]
        self.list.arrange(self.on_arrange, both, [*shown, self.note], **AT_ONCE)
        self.turns.turn(self.on_turn, both, [*shown, self.note], **AT_ONCE)
        self.query.change(self.on_search, both, self.list, trigger_mode="always_last", **AT_ONCE)

    def listed(self, tab: str, query: str, current: str) -> str:
        """The list as HTML; what hinders reading it is said there."""
        try:
            return list_html(self._store.of(tab).entries(query), current, bool(query.strip()))
        except StoreError as error:
            return alert(str(error))

    # -- handlers ----------------------------------------------------------------------------

    def on_search(self, request: gr.Request, query: str, talk: Conversation) -> str:
        """List what is searched for."""
        return self.listed(owner(request), query, talk.id)

    def on_open(self, request: gr.Request, event: gr.EventData, query: str) -> tuple:
        """Open a conversation as it was left, settings included."""
        tab = owner(request)
        self._replies.leave(tab)
        try:
            kept = self._store.of(tab).open(str(event.key))
        except StoreError as error:
            return self._unchanged(str(error))
        if kept is None:
            return self._unchanged("This conversation was deleted.")
        return self._opened(tab, query, kept)

    def on_bring(self, request: gr.Request, event: gr.EventData, query: str) -> tuple:
        """Keep and open a conversation from a file."""
        tab = owner(request)
        try:
            kept = portable.from_json(str(event.text))
            self._store.of(tab).add(kept)
        except StoreError as error:
            return self._unchanged(str(error))
        self._replies.leave(tab)
        return self._opened(tab, query, kept)

    def on_take(self, request: gr.Request, event: gr.EventData) -> tuple[str, str]:
        """A conversation as a file for the script to save."""
        try:
            kept = self._store.of(owner(request)).open(str(event.key))
        except StoreError as error:
            return "", alert(str(error))
        if kept is None:
            return "", alert("This conversation was deleted.")
        if event.kind == "md":
            name, text = f"{kept.title}.md", portable.to_markdown(kept)
        else:
            name, text = f"{kept.title}.json", portable.to_json(kept)
        # the time makes it news even if it is the same again
        return json.dumps({"name": name, "text": text, "at": time.time()}), ""

    def on_arrange(
        self, request: gr.Request, event: gr.EventData, query: str, talk: Conversation
    ) -> tuple:
        """Rename, pin or delete a conversation; a new one begins where the open one was deleted."""
        tab, key = owner(request), str(event.key)
        mine = self._store.of(tab)
        try:
            if event.act == "delete" and key == talk.id:
                self._replies.leave(tab)
                mine.delete(key)
                return self._page(tab, query, Conversation())
            if event.act == "delete":
                mine.delete(key)
            elif event.act == "rename":
                mine.rename(key, str(event.value))
            elif event.act == "pin":
                mine.pin(key, bool(event.value))
        except StoreError as error:
            return self._unchanged(str(error), knobs=False)
        return (*(gr.skip(),) * 7, self.listed(tab, query, talk.id), "")

    def on_turn(
        self, request: gr.Request, event: gr.EventData, query: str, talk: Conversation
    ) -> tuple:
        """Show another version of a message, make one of a reply, or delete one."""
        tab = owner(request)
        talk = self._replies.leave(tab) or talk
        index = next((i for i, turn in enumerate(talk.turns) if turn.id == event.key), None)
        try:
            if index is not None and event.act == "delete":
                talk = talk.delete(index)
                self._store.of(tab).rewrite(talk)
            elif index is not None and event.act == "rewrite":
                talk = talk.rewrite(index, str(event.value))
                self._store.of(tab).extend(talk)
            elif index is not None:
                talk = talk.switch(index, -1 if event.act == "before" else 1)
                self._store.of(tab).show(talk)
        except StoreError as error:
            return self._unchanged(str(error), knobs=False)
        return self._page(tab, query, talk if talk.nodes else Conversation())

    # -- what is shown -----------------------------------------------------------------------

    def _opened(self, tab: str, query: str, kept: Kept) -> tuple:
        known = model.facts(self._host.engine)
        remark, picker = "", gr.skip()
        if kept.model and kept.model != self._host.source:
            remark = f"Written with {kept.model}; {known.name or 'no model'} is loaded now"
            picker = gr.Dropdown(choices=choices(kept.model), value=kept.model)  # one press away
        return (
            *self._page(tab, query, kept.conversation, remark),
            picker,
            *self._panel.values(kept.settings, known),
        )

    def _page(self, tab: str, query: str, talk: Conversation, remark: str = "") -> tuple:
        page = Page(talk, meter(talk, model.facts(self._host.engine), remark))
        return *self._show(page, tab, query), ""

    def _unchanged(self, why: str, knobs: bool = True) -> tuple:
        same = (gr.skip(),)
        return (*same * 8, alert(why), *same * (len(self._panel.knobs) + 1 if knobs else 0))
