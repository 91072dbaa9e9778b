"""The part of the settings that says what form answers have: JSON, and the tools they may call."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from mlx_deepseek.errors import PromptError
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.conversation.tools_json import response_format, tool_list
from mlx_deepseek_app.settings.checked import checked
from mlx_deepseek_app.widgets.event_options import QUIET

SCHEMA_EXAMPLE = '{"type": "object", "properties": {"sum": {"type": "integer"}}}'
TOOLS_EXAMPLE = '[{"type": "function", "function": {"name": "weather", "parameters": {}}}]'


class ToolsJsonPanel:
    """Its components; `inputs` are read for each reply."""

    def __init__(self) -> None:
        with gr.Accordion("For developers", open=False, elem_id="for-developers"):
            self.json_answer = gr.Checkbox(label="Answer in JSON", elem_id="json-answer")
            self.schema = self._box("JSON schema (optional)", "schema", SCHEMA_EXAMPLE)
            noted = checked(self.schema, lambda text: _wrong(partial(response_format, True), text))
            self.tools = self._box("Tools (a JSON list of functions)", "tools", TOOLS_EXAMPLE)
            checked(self.tools, partial(_wrong, tool_list))
        self.inputs = [self.json_answer, self.schema, self.tools]
        self.json_answer.change(
            lambda wanted: (gr.Textbox(visible=wanted), ""),
            *(self.json_answer, [self.schema, noted]),
            **QUIET,
        )

    @property
    def follows(self) -> list[Any]:
        """The components that `on_model` updates."""
        return [self.tools]

    def on_model(self, calls: bool) -> dict[Any, Any]:
        """Updates for a model that calls tools, or does not."""
        return {self.tools: gr.Textbox(visible=calls)}

    def _box(self, label: str, name: str, example: str) -> gr.Textbox:
        return gr.Textbox(
            label=label, lines=3, max_lines=12, placeholder=example, visible=False,
            elem_id=name, elem_classes="pane", max_length=100_000
        )  # fmt: skip

    def read(self, json_answer: bool, schema: str, tools: str) -> dict[str, Any]:
        """The values of `inputs` as settings."""
        return {"json_answer": json_answer, "schema": schema or "", "tools": tools or ""}

    def values(self, settings: PanelSettings) -> dict[Any, Any]:
        """Updates of `inputs` to settings that were kept."""
        schema = gr.Textbox(value=settings.schema, visible=settings.json_answer)
        return {
            self.json_answer: settings.json_answer,
            self.schema: schema,
            self.tools: settings.tools,
        }


def _wrong(read: Callable[[str], Any], text: str) -> str:
    """Why a text cannot be read; "" if it can."""
    try:
        read(text)
    except PromptError as error:
        return str(error)
    return ""
