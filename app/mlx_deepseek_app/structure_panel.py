"""The part of the settings that says what form answers have: JSON, and the tools they may call."""

from typing import Any

import gradio as gr

from mlx_deepseek_app.events import QUIET
from mlx_deepseek_app.model import ModelFacts
from mlx_deepseek_app.session import Settings

SCHEMA_EXAMPLE = '{"type": "object", "properties": {"sum": {"type": "integer"}}}'
TOOLS_EXAMPLE = '[{"type": "function", "function": {"name": "weather", "parameters": {}}}]'


class StructurePanel:
    """Its components; `knobs` are read for each reply."""

    def __init__(self) -> None:
        self.json_answer = gr.Checkbox(label="Answer in JSON", elem_id="json-answer")
        self.schema = self._box("JSON schema (optional)", "schema", SCHEMA_EXAMPLE)
        self.tools = self._box("Tools (a JSON list of functions)", "tools", TOOLS_EXAMPLE)
        self.knobs = [self.json_answer, self.schema, self.tools]
        self.json_answer.change(
            lambda wanted: gr.Textbox(visible=wanted), self.json_answer, self.schema, **QUIET
        )

    def _box(self, label: str, name: str, example: str) -> gr.Textbox:
        return gr.Textbox(
            label=label, lines=3, max_lines=12, placeholder=example, visible=False,
            elem_id=name, elem_classes="pane", max_length=100_000,
        )  # fmt: skip

    def read(self, json_answer: bool, schema: str, tools: str) -> dict[str, Any]:
        """The values of `knobs` as settings."""
        return {"json_answer": json_answer, "schema": schema or "", "tools": tools or ""}

    def values(self, settings: Settings) -> tuple:
        """Updates of `knobs` to settings that were kept."""
        schema = gr.Textbox(value=settings.schema, visible=settings.json_answer)
        return gr.Checkbox(value=settings.json_answer), schema, gr.Textbox(value=settings.tools)

    def offered(self, known: ModelFacts) -> Any:
        """Update of the tools: only some models call any."""
        return gr.Textbox(visible=known.calls)
