"""The conversation on the page: the chat, the message box, and what stands below it."""

from typing import Any

import gradio as gr

from mlx_deepseek_app.chat.composer import Composer
from mlx_deepseek_app.chat.lean_check import LeanCheck
from mlx_deepseek_app.chat.open_tabs import OpenTab
from mlx_deepseek_app.chat.replies import unseen
from mlx_deepseek_app.chat.start_html import STARTING, hero_html, suggestions_html
from mlx_deepseek_app.chat.tool_calls import options
from mlx_deepseek_app.chat.transcript import message_tools, queued_html, reading_html, rows
from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.tools.toolbox import Toolbox
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.markdown import LATEX

# gradio looks in the script for the names of events, quoted
TOOLS_SCRIPT = """conversations.messages(props, watch, {
  change: (data) => trigger('change_message', data), ask: (data) => trigger('ask_again', data),
});"""
HERO_SCRIPT = "shell.hero(watch);"
ASK_SCRIPT = "shell.suggestions(element, { ask: (data) => trigger('ask', data) });"
QUEUED_SCRIPT = """element.addEventListener("click", (event) => {
  const { key } = event.target.closest("button")?.dataset ?? {};
  if (key) trigger('unqueue', { key });
});"""
Updates = dict[Any, Any]


class ChatView:
    """Components; `tools` carries the texts and versions of messages to the page's script."""

    def __init__(self, service: ModelService, toolbox: Toolbox | None = None) -> None:
        self._toolbox = toolbox
        self.chat = gr.Chatbot(
            elem_id="chat",
            label="Conversation",
            show_label=False,
            container=False,
            layout="bubble",
            height=None,
            autoscroll=False,  # page.js follows, without asking for heights while rows are drawn
            buttons=["copy"],  # hidden: the page has its own, which knows what was written
            latex_delimiters=LATEX,
            sanitize_html=True,
            allow_tags=False,
            feedback_options=None,
        )
        self.hero = gr.HTML(STARTING, elem_id="hero", js_on_load=HERO_SCRIPT)
        self.queued = gr.HTML("", elem_id="queued", js_on_load=QUEUED_SCRIPT)
        self.composer = Composer(service)
        self.meter = self.composer.meter
        self.suggestions = gr.HTML("", elem_id="suggestions", js_on_load=ASK_SCRIPT)
        self.lean = LeanCheck()
        # without a template: what it holds never becomes part of the page
        self.tools = gr.HTML("", elem_id="messages", html_template="", js_on_load=TOOLS_SCRIPT)

    @property
    def shown(self) -> list[Any]:
        """The components that `show` updates."""
        buttons = [self.composer.send, self.composer.halt]
        return [self.chat, self.meter, self.tools, self.queued, *buttons]

    def show(self, tab: OpenTab, known: ModelFacts) -> Updates:
        """Updates that show a tab's conversation as it is now, whatever has changed."""
        talk, conversation = tab.talk, tab.talk.conversation
        full = status.nearly_full(conversation, known, talk.settings)
        note = talk.trouble or tab.remark or unseen(conversation, known)
        note = note or status.forgotten(talk.forgotten, talk.settings) or full
        reading, choices = reading_html(talk.activity), options(conversation, self._toolbox)
        shown: Any = rows(conversation, tab.first, reading, bool(full), choices)[0]
        return {
            self.chat: gr.Chatbot(shown) if tab.drawn(shown) else shown,
            self.meter: status.meter(conversation, known, note),
            self.tools: message_tools(conversation, tab.first),
            self.queued: queued_html(talk.queued),
            self.composer.send: gr.Button(visible=not talk.busy),
            self.composer.halt: gr.Button(visible=talk.busy),
        }

    @property
    def follows(self) -> list[Any]:
        """The components that `on_model` updates."""
        return [self.hero, self.suggestions, *self.composer.follows]

    def on_model(self, known: ModelFacts, source: str) -> Updates:
        """Updates for the model in memory."""
        return {
            self.hero: hero_html(known),
            self.suggestions: suggestions_html(known),
            **self.composer.on_model(known, source),
        }
