"""The column of conversations beside the chat, and what its controls do."""

import json
import time
from functools import partial

import gradio as gr

from mlx_deepseek_app.chat.open_tabs import OpenTab, OpenTabs
from mlx_deepseek_app.chat.replies import Replies, Talk
from mlx_deepseek_app.chat.sidebar_html import list_html
from mlx_deepseek_app.chat.view import ChatView, Updates
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.jobs import model_info
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.models.loads import Loads
from mlx_deepseek_app.settings.panel import SettingsPanel
from mlx_deepseek_app.storage import import_export
from mlx_deepseek_app.storage.conversations import Conversations, conversations_of
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.widgets.column_html import brand_html, foot_html
from mlx_deepseek_app.widgets.event_options import AT_ONCE, owner
from mlx_deepseek_app.widgets.status import alert

# gradio looks in the script for the names of events, quoted
LIST_SCRIPT = """conversations.list(element, watch, {
  open: (data) => trigger('open', data), arrange: (data) => trigger('arrange', data),
  take: (data) => trigger('take', data), bring: (data) => trigger('bring', data),
  duplicate: (data) => trigger('duplicate', data),
});"""
NOTE_SCRIPT = "conversations.note(element, watch);"
NAV_SCRIPT = "shell.nav(element, watch);"
LOADS_SCRIPT = "shell.loads(element, watch, { act: (data) => trigger('act', data) });"
PARCEL_SCRIPT = "conversations.parcel(props, watch);"


class Sidebar:
    """`parcel` is for the script: a file to save."""

    def __init__(
        self,
        service: ModelService,
        store: Store,
        replies: Replies,
        tabs: OpenTabs,
        loads: Loads,
        nav: str,
    ) -> None:
        self._service = service
        self._store = store
        self._replies = replies
        self._tabs = tabs
        with gr.Column(elem_id="sidebar", min_width=0):
            gr.HTML(brand_html(), elem_id="brand")
            self.new = gr.Button("New chat", elem_id="new-button", size="sm")
            self.nav = gr.HTML(nav, elem_id="nav", js_on_load=NAV_SCRIPT)
            with gr.Row(elem_id="search-row"):
                self.query = gr.Textbox(
                    elem_id="search",
                    label="Search conversations",
                    show_label=False,
                    container=False,
                    placeholder="Search",
                    max_length=200,
                )
                gr.Button("Import", elem_id="import-button", size="sm")
            self.note = gr.HTML(alert(store.notice), elem_id="sidebar-note", js_on_load=NOTE_SCRIPT)
            self.list = gr.HTML("", elem_id="conversations", js_on_load=LIST_SCRIPT)
            self.loads = gr.HTML("", elem_id="loads", js_on_load=LOADS_SCRIPT)
            gr.HTML(foot_html(), elem_id="foot")
        self.loads.act(loads.on_act, None, None, **AT_ONCE)
        # without a template: what it holds never becomes part of the page
        self.parcel = gr.HTML("", elem_id="parcel", html_template="", js_on_load=PARCEL_SCRIPT)

    def wire(self, view: ChatView, panel: SettingsPanel) -> None:
        """Connect the controls with the chat that shows conversations, and with their settings."""
        self._panel = panel
        opened = [self.note, *panel.inputs]
        self.list.open(self.on_open, None, opened, **AT_ONCE)
        self.list.bring(self.on_bring, None, opened, **AT_ONCE)
        self.list.take(self.on_take, None, [self.parcel, self.note], **AT_ONCE)
        self.list.arrange(self.on_arrange, None, self.note, **AT_ONCE)
        view.tools.change_message(self.on_message, None, opened, **AT_ONCE)
        self.list.duplicate(self.on_duplicate, None, opened, **AT_ONCE)
        self.query.change(self.on_search, self.query, None, trigger_mode="always_last", **AT_ONCE)

    def listed(self, tab: OpenTab) -> Updates:
        """Update of the list where it has changed; what hinders reading it is said there."""
        listed = self._store.changes, tab.talk.conversation.id, tab.query
        if listed == tab.listed:
            return {}
        tab.listed = listed
        try:
            found = conversations_of(self._store, tab.name).entries(tab.query)
            html = list_html(found, tab.talk.conversation.id, tab.query)
        except StoreError as error:
            html = alert(str(error))
        return {self.list: html}

    # -- handlers ----------------------------------------------------------------------------

    def on_search(self, request: gr.Request, query: str) -> None:
        """List what is searched for."""
        self._tabs.of(owner(request)).search(query)

    def on_open(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Open a conversation as it was left, settings included."""
        tab = owner(request)
        try:
            talk = self._replies.open(tab, str(event.key))
        except StoreError as error:
            return {self.note: alert(str(error))}
        if talk is None:
            return {self.note: alert("This conversation was deleted.")}
        return self._opened(tab, talk)

    def on_duplicate(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Make a copy of a conversation, and open it."""
        tab = owner(request)
        try:
            return self._branched(tab, str(event.key))
        except StoreError as error:
            return {self.note: alert(str(error))}

    def on_bring(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Keep the conversations of a file, and open the last of them."""
        tab = owner(request)
        try:
            brought, trouble = import_export.read(str(event.text))
            for saved in brought:
                conversations_of(self._store, tab).add(saved)
        except StoreError as error:
            return {self.note: alert(str(error))}
        return self._opened(tab, self._replies.add(tab, brought[-1])) | {self.note: alert(trouble)}

    def on_take(self, request: gr.Request, event: gr.EventData) -> tuple[str, str]:
        """A conversation as a file for the script to save."""
        try:
            saved = conversations_of(self._store, owner(request)).open(str(event.key))
        except StoreError as error:
            return "", alert(str(error))
        if saved is None:
            return "", alert("This conversation was deleted.")
        if event.kind == "md":
            name, text = f"{saved.title}.md", import_export.to_markdown(saved)
        else:
            name, text = f"{saved.title}.json", import_export.to_json(saved)
        # the time makes it news even if it is the same again
        return json.dumps({"name": name, "text": text, "at": time.time()}), ""

    def on_arrange(self, request: gr.Request, event: gr.EventData) -> str:
        """Rename, pin, move, archive or delete a conversation; rename or remove a folder."""
        tab, key = owner(request), str(event.key)
        mine = conversations_of(self._store, tab)
        try:
            if event.act == "delete":
                self._replies.delete(tab, key)
            elif event.act == "rename":
                mine.rename(key, str(event.value))
            elif event.act == "pin":
                mine.pin(key, bool(event.value))
            elif event.act == "archive":
                mine.archive(key, bool(event.value))
            elif event.act == "move":
                mine.move(key, str(event.value))
            elif event.act == "folder":
                mine.rename_folder(key, str(event.value))
        except StoreError as error:
            return alert(str(error))
        return ""

    def on_message(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Show another version of a message, make one of a reply, branch off, or delete one."""
        tab = self._tabs.of(owner(request))
        talk, key, act = tab.talk, str(event.key), event.act
        if act == "earlier":
            tab.earlier()
            return {self.note: ""}
        index = talk.conversation.index(key)
        if index is None:
            return {self.note: ""}
        try:
            if act == "branch" and talk.conversation.messages[index].role == "assistant":
                return self._branched(tab.name, talk.conversation.id, index)
            if act == "delete":
                self._replies.change(talk, lambda now: now.delete(index), Conversations.rewrite)
            elif act == "rewrite":
                text = str(event.value)
                change = partial(Conversation.rewrite, index=index, text=text)
                self._replies.change(talk, change, Conversations.extend)
            else:
                step = -1 if act == "before" else 1
                change = partial(Conversation.switch, index=index, step=step)
                self._replies.change(talk, change, Conversations.show)
        except StoreError as error:
            return {self.note: alert(str(error))}
        return {self.note: ""}

    def _branched(self, tab: str, key: str, index: int | None = None) -> Updates:
        """Keep a copy of a conversation, up to a reply if that is given, and open it."""
        copy = conversations_of(self._store, tab).branch(key, index)
        if copy is None:
            return {self.note: alert("This conversation was deleted.")}
        return self._opened(tab, self._replies.add(tab, copy))

    def _opened(self, tab: str, talk: Talk) -> Updates:
        known = model_info.facts(self._service.engine)
        remark, updates = "", self._panel.values(talk.settings, known)
        if talk.model and talk.model != self._service.source:
            remark = f"Written with {talk.model}; {known.name or 'no model'} is loaded now"
        self._tabs.of(tab).show(talk, remark)
        return {self.note: "", **updates}
