"""The page: one column, the pages beside it, and what they do when a model is loaded."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from mlx_deepseek_app.chat.open_tabs import OpenTab, OpenTabs
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.chat.sidebar import Sidebar
from mlx_deepseek_app.chat.start_html import STARTING
from mlx_deepseek_app.chat.tab import ChatTab
from mlx_deepseek_app.chat.view import ChatView
from mlx_deepseek_app.jobs import model_info
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.models.loads import Loads
from mlx_deepseek_app.models.tab import ModelsTab
from mlx_deepseek_app.settings.panel import SettingsPanel
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs.code import CodeTab
from mlx_deepseek_app.tabs.compare import CompareTab
from mlx_deepseek_app.tabs.documents import DocumentsTab
from mlx_deepseek_app.tabs.drawing import DrawingTab
from mlx_deepseek_app.tabs.inspect import InspectTab
from mlx_deepseek_app.tabs.job_tab import JobTab
from mlx_deepseek_app.tabs.pictures import PicturesTab
from mlx_deepseek_app.tabs.prove import ProveTab
from mlx_deepseek_app.tabs.server import ServerTab
from mlx_deepseek_app.tools.toolbox import Toolbox
from mlx_deepseek_app.widgets.column_html import PageName, bar_html, nav_html
from mlx_deepseek_app.widgets.event_options import FREE, QUIET, owner

# pages of what only some models can do, shown while one is in memory that has the fact
OF_SOME_MODELS: tuple[tuple[PageName, type[JobTab], str], ...] = (
    (PageName("pictures", "Pictures", "image"), PicturesTab, "sees"),
    (PageName("documents", "Documents", "file-text"), DocumentsTab, "sees"),
    (PageName("draw", "Draw", "palette"), DrawingTab, "draws"),
    (PageName("code", "Code", "code"), CodeTab, "fills"),
    (PageName("prove", "Prove", "sigma"), ProveTab, "proves"),
)
CHAT = PageName("chat", "Chat", "square-pen")
MODELS = PageName("models", "Models", "box")
COMPARE = PageName("compare", "Compare", "columns-2")
INTERNALS = PageName("internals", "Under the hood", "cpu")
SERVER = PageName("server", "Server", "server")
NEVER = object()  # no engine yet, not even none


def build(
    service: ModelService, store: Store, site: Any = None, toolbox: Toolbox | None = None
) -> gr.Blocks:
    """The app over a model service and a store; several may exist side by side.

    `site` is the API server's, if there is one beside it; `toolbox` has what models may call.
    """
    with gr.Blocks(title="mlx-deepseek", analytics_enabled=False, fill_width=True) as page:
        AppPage(service, store, page, site, toolbox or Toolbox())
    return page


def tab_of(page: PageName, visible: bool = True) -> gr.Tab:
    """Where a page stands; the column's links choose it, its own button is not shown."""
    return gr.Tab(page.name, id=page.key, elem_id=f"page-{page.key}", visible=visible)


class AppPage:
    """The shell, the pages, and the handlers that concern all of them."""

    def __init__(
        self, service: ModelService, store: Store, page: gr.Blocks, site: Any, toolbox: Toolbox
    ) -> None:
        self.service = service
        self.loads = Loads(service)
        self.some: dict[gr.Tab, JobTab] = {}
        self.always = [MODELS, COMPARE, INTERNALS, *([] if site is None else [SERVER])]
        gr.HTML(bar_html(), elem_id="bar")
        with gr.Row(elem_id="shell"):
            replies = Replies(service, store, toolbox)
            tabs = OpenTabs(replies)
            sidebar = Sidebar(service, store, replies, tabs, self.loads, nav_html(self.always))
            with gr.Tabs(elem_id="tabs"):
                with tab_of(CHAT), gr.Column(elem_id="conversation"):
                    view = ChatView(service, toolbox)
                for name, kind, _ in OF_SOME_MODELS:
                    with tab_of(name, visible=False) as tab:
                        self.some[tab] = kind(service, store)
                with tab_of(MODELS) as models:
                    self.models = ModelsTab(service, self.loads)
                with tab_of(COMPARE):
                    self.compare = CompareTab(service, store)
                with tab_of(INTERNALS):
                    self.inspect = InspectTab(service, store)
                if site is not None:
                    with tab_of(SERVER) as server:
                        ServerTab(site).wire(server)
            panel = SettingsPanel(service, store, view.composer, toolbox)
        self.chat = ChatTab(service, store, replies, tabs, sidebar, view, panel, toolbox)
        models.select(self.models.on_filter, self.models.filters, self.models.shown, **FREE)
        self._wire(page)

    def _wire(self, page: gr.Blocks) -> None:
        panel, view, sidebar = self.chat.panel, self.chat.view, self.chat.sidebar
        following = [part for tab in (*self.some.values(), self.compare) for part in tab.follows]
        told = [sidebar.nav, *self.chat.follows, *self.some, *following]
        # what shows progress does not touch the chat, which stays usable meanwhile
        view.composer.menu.choose(self.loads.on_choose, None, sidebar.loads, **FREE)
        self.models.wire(sidebar.loads)
        self._wire_drawing()
        for tab in self.some.values():
            tab.wire(page)
        page.load(self.on_follow, None, told, **FREE)
        page.load(self.loads.on_open, None, sidebar.loads, **FREE)
        page.load(panel.presets.on_open, None, panel.presets.preset, **FREE)
        page.load(panel.titles.on_open, None, panel.titles.write, **FREE)
        page.unload(self.on_close)

    def _wire_drawing(self) -> None:
        (pictures,) = (tab for tab in self.some.values() if isinstance(tab, PicturesTab))
        (kept,) = (tab.kept for tab in self.some.values() if isinstance(tab, DrawingTab))
        asked = kept.ask.click(kept.on_ask, kept.chosen, pictures.files, **QUIET)
        asked.then(None, js="() => { location.hash = '#pictures'; }")

    async def on_follow(self, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """Show what the tab is to show, as long as it is open: the one who writes to the page."""
        tab, seen = self.chat.tabs.of(owner(request)), NEVER
        async for _ in self.chat.news(tab):
            known = model_info.facts(self.service.engine)
            updates, now = self.chat.shown(tab, known), (self.service.engine, self.loads.busy)
            if now != seen:
                seen = now
                updates |= self.on_model(tab, known)
            yield updates

    def on_model(self, open_tab: OpenTab, known: model_info.ModelFacts) -> dict[Any, Any]:
        """Show the model in memory; settings and pages follow when it is another one."""
        able = [bool(getattr(known, fact)) for _, _, fact in OF_SOME_MODELS]
        named = [name for (name, *_), shown in zip(OF_SOME_MODELS, able, strict=True) if shown]
        updates: dict[Any, Any] = {
            self.chat.sidebar.nav: nav_html([*named, *self.always]),
            **self.chat.on_model(known),
            **{tab: gr.Tab(visible=shown) for tab, shown in zip(self.some, able, strict=True)},
        }
        if not known.name and self.loads.busy is not None:
            updates[self.chat.view.hero] = STARTING
        if self.service.source and self.service.source != open_tab.source:
            open_tab.source = self.service.source
            updates |= self.chat.panel.on_model(known)
            for tab in (*self.some.values(), self.compare):
                updates |= tab.on_model(known)
        return updates

    def on_close(self, request: gr.Request) -> None:
        """The browser's tab was closed."""
        self.chat.on_close(request)
        for tab in (*self.some.values(), self.compare, self.inspect, self.models):
            tab.on_close(request)
