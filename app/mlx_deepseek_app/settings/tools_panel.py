"""The part of the settings about tools that the app can run: its own, and those of MCP servers."""

from typing import Any

import gradio as gr

from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.tools.tool import ToolError
from mlx_deepseek_app.tools.toolbox import Toolbox
from mlx_deepseek_app.widgets.event_options import QUIET
from mlx_deepseek_app.widgets.markdown import escaped
from mlx_deepseek_app.widgets.status import alert

EXAMPLE = '{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}'


class ToolsPanel:
    """Its components; `inputs` are read for each reply, `follows` is what only some models can."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self.use = gr.Checkbox(
            label="Let the model call tools",
            info="A calculator and a clock, and what MCP servers offer. Each call asks you first.",
            visible=False,
            elem_id="use-tools",
        )
        self.inputs: list[Any] = [self.use]
        with gr.Accordion("MCP servers", open=False, visible=False, elem_id="mcp") as self.servers:
            self.config = gr.Textbox(
                toolbox.configured or "",
                label="Servers (mcp.json)",
                info="As other apps have it: a command to start, or a url.",
                lines=5,
                max_lines=14,
                placeholder=EXAMPLE,
                elem_id="mcp-config",
                elem_classes="pane",
                max_length=100_000,
            )
            self.save = gr.Button("Save and start", elem_id="mcp-save", size="sm")
            self.told = gr.HTML("", elem_id="mcp-told")
        self.follows: list[Any] = [self.use, self.servers]
        self.save.click(self.on_save, self.config, self.told, **QUIET)
        self.servers.expand(self.on_look, None, self.told, **QUIET)

    def read(self, use: bool = False) -> dict[str, Any]:
        """The values of `inputs` as settings."""
        return {"use_tools": bool(use)}

    def values(self, settings: PanelSettings) -> dict[Any, Any]:
        """Updates of `inputs` to settings that were kept."""
        return {self.use: settings.use_tools}

    def on_model(self, calls: bool) -> dict[Any, Any]:
        """Updates for a model that calls tools, or does not."""
        servers = calls and self._toolbox.configured is not None
        return {self.use: gr.Checkbox(visible=calls), self.servers: gr.Accordion(visible=servers)}

    def on_save(self, text: str) -> str:
        """Keep the servers, start them, and say what they offer."""
        try:
            self._toolbox.configure(text)
        except (ToolError, OSError) as error:
            return alert(str(error))
        return tools_html(self._toolbox)

    def on_look(self) -> str:
        """Say what there is."""
        self._toolbox.refresh()
        return tools_html(self._toolbox)


def tools_html(toolbox: Toolbox) -> str:
    """What can be called, and what is wrong."""
    lines = "".join(
        f"<li><b>{escaped(name)}</b> <small>{escaped(source)}</small><br>{escaped(text[:200])}</li>"
        for name, source, text in toolbox.describe()
    )
    return f"{''.join(map(alert, toolbox.wrong))}<ul>{lines}</ul>"
