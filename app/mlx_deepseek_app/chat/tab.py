"""The chat: what the message box, the messages, the column and the settings do together.

Handlers change what the server knows of the tab and of conversations; what is shown follows from
that in one place, `shown`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import gradio as gr

from mlx_deepseek_app.chat.open_tabs import REFRESH_S, OpenTab, OpenTabs
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.chat.sidebar import Sidebar
from mlx_deepseek_app.chat.tool_calls import decided
from mlx_deepseek_app.chat.transcript import GO_ON, message_index
from mlx_deepseek_app.chat.view import ChatView, Updates
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.messages import Attached
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs import model_info
from mlx_deepseek_app.jobs.context import going_on, summary
from mlx_deepseek_app.jobs.drawn_reply import COMMAND, to_draw
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.queue import Answer, watch
from mlx_deepseek_app.settings.panel import SettingsPanel
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tools.toolbox import Toolbox
from mlx_deepseek_app.widgets.event_options import AT_ONCE, FREE, owner

# the box is emptied when the message leaves it: what is typed from then on is the next one's
SENT = "(...inputs) => { drafts.sent(); return inputs; }"


# Handlers take the request and the event before *inputs: gradio passes them by position.
class ChatTab:
    """Handlers over the parts of the page."""

    def __init__(
        self,
        service: ModelService,
        store: Store,
        replies: Replies,
        tabs: OpenTabs,
        sidebar: Sidebar,
        view: ChatView,
        panel: SettingsPanel,
        toolbox: Toolbox,
    ) -> None:
        self.service = service
        self.store = store
        self.toolbox = toolbox
        self.replies, self.tabs = replies, tabs
        self.sidebar, self.view, self.panel = sidebar, view, panel
        self._wire()

    def _wire(self) -> None:
        view, composer, sidebar = self.view, self.view.composer, self.sidebar
        inputs = self.panel.inputs
        box = [composer.prompt, *composer.attachments]
        said = [composer.prompt, composer.attached, *inputs]
        for trigger in (composer.prompt.submit, composer.send.click):
            trigger(self.on_send, said, box, js=SENT, trigger_mode="multiple", **FREE)
        composer.draw.click(self.on_draw, said, box, js=SENT, trigger_mode="multiple", **FREE)
        view.suggestions.ask(self.on_example, inputs, None, **AT_ONCE)
        view.chat.retry(self.on_retry, inputs, None, **AT_ONCE)
        view.chat.option_select(self.on_option, inputs, self.panel.system, **FREE)
        view.tools.ask_again(self.on_edit, inputs, None, **AT_ONCE)
        view.queued.unqueue(self.on_unqueue, None, None, **AT_ONCE)
        composer.halt.click(self.on_stop, None, None, **AT_ONCE)
        begun = [*composer.attachments, *inputs]
        sidebar.new.click(self.on_new, None, begun, **AT_ONCE)
        sidebar.wire(view, self.panel)

    @property
    def follows(self) -> list[Any]:
        """The components that `shown` and `on_model` update."""
        view, panel = self.view, self.panel
        return [*view.shown, self.sidebar.list, *view.follows, *panel.follows]

    async def news(self, tab: OpenTab) -> AsyncIterator[None]:
        """Yields when something has changed that the tab shows."""

        def other() -> tuple[int, int, str]:
            return self.store.changes, id(self.service.engine), self.service.source

        async for _ in self.tabs.news(tab, other):
            yield

    def shown(self, tab: OpenTab, known: model_info.ModelFacts) -> Updates:
        """Updates that show what the tab is to show."""
        return self.view.show(tab, known) | self.sidebar.listed(tab)

    def on_send(
        self, request: gr.Request, text: str, attached: Sequence[Attached], *inputs: Any
    ) -> Updates:
        """Send the message box; a message that cannot be sent comes back into it."""
        box = self.view.composer
        if not text.strip() and not attached:
            return {box.prompt: gr.skip()}
        settings = self._settings(request, inputs)
        if settings is None:
            return {box.prompt: text}
        self.replies.send(self._tab(request).talk, text.strip("\n"), attached, settings)
        return box.emptied()

    def on_draw(
        self, request: gr.Request, text: str, attached: Sequence[Attached], *inputs: Any
    ) -> Updates:
        """Have what is in the message box drawn."""
        text = text.strip()
        wish = text if not text or to_draw(text) else f"{COMMAND} {text}"
        return self.on_send(request, wish, attached, *inputs)

    def on_example(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> None:
        """Send a suggestion."""
        self._ask(request, inputs, lambda now: now.ask(str(event.text)))

    def on_retry(self, request: gr.Request, event: gr.RetryData, *inputs: Any) -> None:
        """Answer the same message again."""
        first, row = self._tab(request).first, event.index
        self._ask(request, inputs, lambda now: now.retry(message_index(now, row, first)))

    def on_edit(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> None:
        """Change one of the user's messages and answer it; of a reply, make another version."""
        conversation = self._tab(request).talk.conversation
        index = conversation.index(str(event.key))
        if index is None:
            return
        if conversation.messages[index].role == "user":
            self._ask(request, inputs, lambda now: now.edit(index, str(event.value)))
        else:
            self._ask(request, inputs, lambda now: now.retry(index))

    async def on_option(self, request: gr.Request, picked: gr.SelectData, *inputs: Any) -> Any:
        """Go on with a reply that was cut off, or with the conversation in a new one."""
        tab = self._tab(request)
        conversation = tab.talk.conversation
        if picked.value == GO_ON:
            return await self._go_on(tab, conversation, inputs[1] or "")
        if conversation.messages and conversation.messages[-1].unfinished:
            self._ask(request, inputs, lambda now: now.resume())
        elif given := await decided(conversation, str(picked.value), self.toolbox):
            self._ask(request, inputs, lambda now: now.ask(given))
        return gr.skip()

    async def _go_on(self, tab: OpenTab, old: Conversation, system: str) -> Any:
        """Turn to a new conversation, the system prompt of which knows of the old one."""
        fresh = self.replies.new(tab.name)
        tab.show(fresh, "Summarizing the conversation")
        job = self.service.stream(tab.name, lambda engine: summary(engine, old.prompt(system)))
        answer = Answer(job)
        async for _ in watch(job, REFRESH_S, answer.take):
            pass
        if tab.talk is not fresh or fresh.busy:
            return gr.skip()  # somebody could not wait
        tab.show(fresh, "What was said before stands in the system prompt")
        questions = [message.text for message in old.messages if message.role == "user"]
        return going_on(system, answer.text, questions)

    def on_stop(self, request: gr.Request) -> None:
        """Stop the reply that this tab shows."""
        self.replies.stop(self._tab(request).talk)

    def on_unqueue(self, request: gr.Request, event: gr.EventData) -> None:
        """Take back a message that waits for the reply before it."""
        self.replies.unqueue(self._tab(request).talk, str(event.key))

    def on_new(self, request: gr.Request) -> Updates:
        """Begin another conversation; a reply that is on its way goes on."""
        self._tab(request).show(self.replies.new(owner(request)))
        return self.view.composer.emptied() | self.panel.begun()

    def on_model(self, known: model_info.ModelFacts) -> Updates:
        """Updates for the model in memory."""
        return self.view.on_model(known, self.service.source)

    def on_close(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.tabs.close(owner(request))
        self.replies.left(owner(request))

    def _tab(self, request: gr.Request) -> OpenTab:
        return self.tabs.of(owner(request))

    def _ask(
        self,
        request: gr.Request,
        inputs: tuple[Any, ...],
        change: Callable[[Conversation], Conversation],
    ) -> None:
        settings = self._settings(request, inputs)
        if settings is not None:
            self.replies.ask(self._tab(request).talk, change, settings)

    def _settings(self, request: gr.Request, inputs: tuple[Any, ...]) -> PanelSettings | None:
        """What the panel holds; None where a field has a wrong value, which is said."""
        wrong, settings = "", None
        try:
            settings = self.panel.read(*inputs)
        except gr.Error as error:
            wrong = error.message
        self._tab(request).say(wrong)
        return settings
