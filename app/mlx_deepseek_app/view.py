"""The page: layout and wiring. What happens is in `chat`, `session`, the tabs and `page.js`."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import gradio as gr

from mlx_deepseek_app import model, sources, status
from mlx_deepseek_app.attachments import without_thumbnails
from mlx_deepseek_app.chat import Page, Replies, turn_index
from mlx_deepseek_app.code_page import CodePage
from mlx_deepseek_app.compare_page import ComparePage
from mlx_deepseek_app.composer import Composer
from mlx_deepseek_app.documents_page import DocumentsPage
from mlx_deepseek_app.drawer import Drawer
from mlx_deepseek_app.events import FREE, LATEX, QUIET, owner
from mlx_deepseek_app.hood_page import HoodPage
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.listing import turns_json
from mlx_deepseek_app.loading import Loading
from mlx_deepseek_app.models_page import ModelsPage
from mlx_deepseek_app.pictures_page import PicturesPage
from mlx_deepseek_app.session import Conversation
from mlx_deepseek_app.settings import SettingsPanel
from mlx_deepseek_app.store import Store
from mlx_deepseek_app.transcript import rows
from mlx_deepseek_app.turns import Picture


def build(host: Host, store: Store) -> gr.Blocks:
    """The app over a host and a store; several may exist side by side."""
    with gr.Blocks(title="mlx-deepseek", analytics_enabled=False, fill_width=True) as page:
        View(host, store, page)
    return page


# Pages for what only some models can do, shown while one is in memory that has the fact.
SOMETIMES: tuple[tuple[str, Any, str], ...] = (
    ("Pictures", PicturesPage, "sees"),
    ("Documents", DocumentsPage, "sees"),
    ("Code", CodePage, "fills"),
)


# Handlers take the request and the event before *knobs: gradio passes them by position.
class View:
    """The components of one page and the handlers between them."""

    def __init__(self, host: Host, store: Store, page: gr.Blocks) -> None:
        self.host = host
        self.store = store
        self.replies = Replies(host, store)
        self.conversation = gr.State(Conversation())
        self.seen = gr.State("")  # the model that this tab's settings are for
        self._header()
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Chat"), gr.Row(elem_id="body"):
                self.drawer = Drawer(host, store, self.replies)
                with gr.Column(elem_id="talk"):
                    self._talk()
                self.panel = SettingsPanel(store)
            self.sometimes: list[tuple[gr.Tab, Any]] = []
            for name, kind, _ in SOMETIMES:
                with gr.Tab(name, visible=False) as tab:
                    self.sometimes.append((tab, kind(host)))
            with gr.Tab("Models") as models:
                self.models = ModelsPage(host)
            # what other tabs have loaded meanwhile
            models.select(self.models.on_filter, self.models.filters, self.models.shown, **QUIET)
            with gr.Tab("Compare"):
                self.compare = ComparePage(host)
            with gr.Tab("Under the hood"):
                self.hood = HoodPage(host)
        self.able: list[Any] = [self.composer.attach, *(tab for tab, _ in self.sometimes)]
        self.following = [part for _, page in self.sometimes for part in page.follows]
        self._wire(page)

    def _header(self) -> None:
        with gr.Row(elem_id="header"):
            gr.Button("Chats", elem_id="drawer-button", size="sm")
            gr.HTML('<h1 class="brand">mlx-deepseek</h1>', elem_id="brand")
            self.chip = gr.HTML(status.chip(model.ModelFacts()), elem_id="model-chip")
            gr.Button("中文", elem_id="language-button", size="sm")
            gr.Button("Theme", elem_id="theme-button", size="sm")
            gr.Button("Settings", elem_id="settings-button", size="sm")

    def _talk(self) -> None:
        self.notice = gr.HTML("", elem_id="notice", visible=False)
        self.chat = gr.Chatbot(
            elem_id="chat",
            label="Conversation",
            show_label=False,
            container=False,
            layout="bubble",
            height=None,
            editable="user",
            buttons=["copy"],
            latex_delimiters=LATEX,
            sanitize_html=True,
            allow_tags=False,
            feedback_options=None,
        )
        self.composer = Composer()
        self.prompt, self.send, self.halt = (
            self.composer.prompt,
            self.composer.send,
            self.composer.halt,
        )
        self.meter = gr.HTML("", elem_id="meter")

    # -- wiring ------------------------------------------------------------------------------

    def _wire(self, page: gr.Blocks) -> None:
        drawer = self.drawer
        knobs = [*self.panel.knobs, drawer.query]
        shown = [self.conversation, self.chat, self.meter, self.chip, self.send, self.halt]
        shown += [drawer.turns, drawer.list]
        for trigger in (self.prompt.submit, self.send.click):
            trigger(
                self.on_send,
                [self.prompt, self.composer.attached, self.conversation, *knobs],
                [self.prompt, *self.composer.carried, *shown],
                **FREE,
            )
        self.chat.example_select(self.on_example, [self.conversation, *knobs], shown, **FREE)
        self.chat.retry(self.on_retry, [self.conversation, *knobs], shown, **FREE)
        self.chat.edit(self.on_edit, [self.conversation, *knobs], shown, **FREE)
        self.chat.option_select(self.on_continue, [self.conversation, *knobs], shown, **FREE)
        drawer.wire(self.conversation, shown, self.panel, self._show)
        self.halt.click(self.on_stop, queue=False, **QUIET)
        drawer.new.click(self.on_new, drawer.query, [self.prompt, *shown], queue=False, **QUIET)
        facts = [self.chip, self.chat, self.meter, self.seen, self.panel.picker]
        told = [*facts, *self.panel.model_fields, *self.able, *self.following]
        tell = (self.on_model, [self.conversation, self.seen], told)
        loading = [self.panel.outcome, self.panel.cancel, self.notice]
        # what shows progress does not touch the chat, which stays usable meanwhile
        load = Loading(self.host)
        self.panel.load.click(load.on_load, self.panel.picker, loading, **FREE).then(*tell, **QUIET)
        self.models.changed.then(*tell, **QUIET)
        self.panel.cancel.click(load.on_cancel, queue=False, **QUIET)
        self.panel.reset.click(self.on_reset, None, self.panel.recommended, queue=False, **QUIET)
        page.load(load.on_open, None, self.notice, **FREE).then(*tell, **QUIET)
        prompting = self.panel.prompting
        page.load(prompting.on_open, None, prompting.preset, **FREE)
        page.load(drawer.on_search, [drawer.query, self.conversation], drawer.list, **FREE)
        opened = [self.models.outcome, *self.models.shown]
        page.load(self.models.on_open, self.models.filters, opened, **FREE).then(*tell, **QUIET)
        page.unload(self.on_close)

    async def on_send(
        self,
        request: gr.Request,
        text: str,
        attached: Sequence[Picture],
        conversation: Conversation,
        *knobs: Any,
    ) -> AsyncIterator[tuple]:
        """Send the message box."""
        if not text.strip() and not attached:
            yield (gr.skip(),) * 12
            return
        asked = conversation.ask(text.strip("\n"), attached)
        async for shown in self._answer(asked, knobs, request):
            yield "", *self.composer.emptied(), *shown

    async def on_example(
        self, request: gr.Request, picked: gr.SelectData, conversation: Conversation, *knobs: Any
    ) -> AsyncIterator[tuple]:
        """Send a starter prompt."""
        async for shown in self._answer(conversation.ask(picked.value["text"]), knobs, request):
            yield shown

    async def on_retry(
        self, request: gr.Request, event: gr.RetryData, conversation: Conversation, *knobs: Any
    ) -> AsyncIterator[tuple]:
        """Answer the same message again."""
        again = conversation.retry(turn_index(conversation, event.index))
        async for shown in self._answer(again, knobs, request):
            yield shown

    async def on_edit(
        self, request: gr.Request, event: gr.EditData, conversation: Conversation, *knobs: Any
    ) -> AsyncIterator[tuple]:
        """Change one of the user's messages and answer it; an emptied one changes nothing."""
        index = turn_index(conversation, event.index)
        text = without_thumbnails(str(event.value))
        if not text.strip() or conversation.turns[index].role != "user":
            yield (conversation, rows(conversation)[0], *(gr.skip(),) * 6)
            return
        edited = conversation.edit(index, text)
        async for shown in self._answer(edited, knobs, request):
            yield shown

    async def on_continue(
        self, request: gr.Request, conversation: Conversation, *knobs: Any
    ) -> AsyncIterator[tuple]:
        """Go on with a reply that was cut off."""
        if conversation.turns and conversation.turns[-1].unfinished:
            async for shown in self._answer(conversation.resume(), knobs, request):
                yield shown

    async def _answer(
        self, conversation: Conversation, knobs: tuple, request: gr.Request
    ) -> AsyncIterator[tuple]:
        tab, (*values, query) = owner(request), knobs
        async for page in self.replies.answer(tab, conversation, self.panel.read(*values)):
            yield self._show(page, tab, query)

    def on_stop(self, request: gr.Request) -> None:
        """Stop this tab's reply."""
        self.replies.stop(owner(request))

    def on_new(self, request: gr.Request, query: str) -> tuple:
        """Begin another conversation."""
        self.replies.leave(owner(request))
        fresh = Page(Conversation(), status.meter(Conversation(), model.facts(self.host.engine)))
        return "", *self._show(fresh, owner(request), query)

    def on_model(self, conversation: Conversation, seen: str) -> tuple:
        """Show the model in memory; the sampling settings follow when it is another one."""
        known = model.facts(self.host.engine)
        source = self.host.source
        examples: list[Any] = [{"text": text} for text in known.suggestions]
        changed = bool(source) and source != seen
        picker: Any = gr.Dropdown(choices=sources.choices(source))
        if changed:
            picker = gr.Dropdown(choices=sources.choices(source), value=source)
        return (
            status.chip(known),
            gr.Chatbot(examples=examples, placeholder=status.welcome(known)),
            status.meter(conversation, known),
            source,
            picker,
            *(self.panel.fields(known) if changed else (gr.skip(),) * len(self.panel.model_fields)),
            self.composer.on_model(known.sees),
            *(gr.Tab(visible=getattr(known, fact)) for _, _, fact in SOMETIMES),
            *(self._followed(known) if changed else (gr.skip(),) * len(self.following)),
        )

    def _followed(self, known: model.ModelFacts) -> list[Any]:
        return [update for _, page in self.sometimes for update in page.on_model(known)]

    def on_reset(self) -> tuple:
        """The sampling settings that the model's makers recommend."""
        return self.panel.recommendation(model.facts(self.host.engine))

    def on_close(self, request: gr.Request) -> None:
        """The tab was closed; where nothing is kept, its conversations go with it."""
        self.replies.leave(owner(request))
        self.store.left(owner(request))
        for page in (*(page for _, page in self.sometimes), self.compare, self.hood):
            page.on_close(request)

    # -- what is shown -----------------------------------------------------------------------

    def _show(self, page: Page, tab: str, query: str) -> tuple:
        return (
            page.conversation,
            rows(page.conversation)[0],
            page.meter,
            status.chip(model.facts(self.host.engine)),
            gr.Button(visible=not page.busy),
            gr.Button(visible=page.busy),
            turns_json(page.conversation),
            self.drawer.listed(tab, query, page.conversation.id) if page.listed else gr.skip(),
        )
