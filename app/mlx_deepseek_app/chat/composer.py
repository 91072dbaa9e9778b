"""The message box with its controls: files, model, thinking, context, send."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from mlx_deepseek_app.chat.attachments import attach, chips_html, reader
from mlx_deepseek_app.conversation.messages import Attached
from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.models.cards import usable_memory_bytes
from mlx_deepseek_app.models.choices import offered
from mlx_deepseek_app.models.menu_html import menu_html
from mlx_deepseek_app.widgets.event_options import QUIET, REMOVE_SCRIPT

# gradio looks in the script for the names of events, quoted
MENU_SCRIPT = "shell.menu(element, watch, { choose: (data) => trigger('choose', data) });"
OWN_EFFORT = ("Effort: default", "")


class Composer:
    """Its components; `attached` are the files that go with the next message."""

    def __init__(self, service: ModelService) -> None:
        self._service = service
        self.attached = gr.State(())
        with gr.Column(elem_id="composer", min_width=0):
            with gr.Row(elem_id="attached", visible=False) as self.row:
                self.strip = gr.HTML("", js_on_load=REMOVE_SCRIPT)
            self.prompt = gr.Textbox(
                elem_id="prompt",
                label="Message",
                show_label=False,
                container=False,
                placeholder="Ask anything",
                lines=1,
                max_lines=8,
                autofocus=True,
                max_length=200_000,
            )
            with gr.Row(elem_id="composer-row"):
                self._controls()
        self.attachments: list[Any] = [self.attached, self.strip, self.row]
        self.attach.upload(self.on_attach, [self.attach, self.attached], self.attachments, **QUIET)
        self.strip.remove(self.on_remove, self.attached, self.attachments, queue=False, **QUIET)

    def _controls(self) -> None:
        self.attach = gr.UploadButton(
            "Attach", file_count="multiple", size="sm", elem_id="attach-button"
        )
        self.menu = gr.HTML(
            menu_html(ModelFacts(), "", [], 0), elem_id="model-menu", js_on_load=MENU_SCRIPT
        )
        self.thinking = gr.Checkbox(
            label="Think", value=True, visible=False, container=False, elem_id="think"
        )
        self.effort = gr.Dropdown(
            [OWN_EFFORT],
            value="",
            label="Effort",
            show_label=False,
            container=False,
            filterable=False,
            visible=False,
            elem_id="effort",
        )
        self.draw = gr.Button("Draw", size="sm", elem_id="draw-button", visible=False)
        self.meter = gr.HTML("", elem_id="meter")
        self.send = gr.Button("Send", elem_id="send-button", variant="primary", size="sm")
        self.halt = gr.Button("Stop", elem_id="stop-button", size="sm", visible=False)

    @property
    def follows(self) -> list[Any]:
        """The components that `on_model` updates."""
        return [self.menu, self.thinking, self.effort, self.draw]

    def on_model(self, known: ModelFacts, source: str) -> dict[Any, Any]:
        """Updates for the model in memory."""
        efforts = [OWN_EFFORT, *((f"Effort: {name}", name) for name in known.efforts)]
        menu = menu_html(known, source, offered(), usable_memory_bytes())
        return {
            self.menu: menu,
            self.thinking: gr.Checkbox(visible=known.can_think),
            self.effort: gr.Dropdown(efforts, value="", visible=bool(known.efforts)),
            self.draw: gr.Button(visible=known.draws),
        }

    def on_attach(self, paths: list[str] | None, attached: Sequence[Attached]) -> dict[Any, Any]:
        """Take files along with the next message."""
        return self._with(*attach(paths or [], attached, reader(self._service.engine)))

    def on_remove(self, event: gr.EventData, attached: Sequence[Attached]) -> dict[Any, Any]:
        """Leave one of them here."""
        gone = int(event.index)
        return self._with([one for at, one in enumerate(attached) if at != gone])

    def emptied(self) -> dict[Any, Any]:
        """Updates of `attachments` when nothing goes with the next message."""
        return self._with(())

    def _with(self, attached: Sequence[Attached], wrong: Sequence[str] = ()) -> dict[Any, Any]:
        html = chips_html(attached, wrong)
        return {
            self.attached: tuple(attached),
            self.strip: html,
            self.row: gr.Row(visible=bool(html)),
        }
