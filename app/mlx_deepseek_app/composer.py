"""The message box: words, and pictures and PDFs when the model in memory sees."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from mlx_deepseek_app.attachments import attach, strip_html
from mlx_deepseek_app.events import QUIET
from mlx_deepseek_app.turns import Picture

KINDS = [".pdf", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif"]


class Composer:
    """Its components; `attached` are the pictures that go with the next message."""

    def __init__(self) -> None:
        self.attached = gr.State(())
        with gr.Row(elem_id="attached", visible=False) as self.row:
            self.strip = gr.HTML("")
            self.drop = gr.Button("Remove", elem_id="unattach-button", size="sm")
        with gr.Row(elem_id="composer"):
            self.attach = gr.UploadButton(
                "Attach", file_count="multiple", file_types=KINDS, visible=False, size="sm",
                elem_id="attach-button",
            )  # fmt: skip
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
            self.send = gr.Button("Send", elem_id="send-button", variant="primary", size="sm")
            self.halt = gr.Button("Stop", elem_id="stop-button", size="sm", visible=False)
        self.carried = [self.attached, self.strip, self.row]
        self.attach.upload(self.on_attach, [self.attach, self.attached], self.carried, **QUIET)
        self.drop.click(self.emptied, None, self.carried, queue=False, **QUIET)

    def on_attach(self, paths: list[str] | None, attached: Sequence[Picture]) -> tuple:
        """Take files along with the next message."""
        pictures, wrong = attach(paths or [], attached)
        html = strip_html(pictures, wrong)
        return pictures, html, gr.Row(visible=bool(html))

    def emptied(self) -> tuple:
        """Updates of `carried` when nothing goes with the next message."""
        return (), "", gr.Row(visible=False)

    def on_model(self, sees: bool) -> Any:
        """Whether the model in memory can be shown anything."""
        return gr.UploadButton(visible=sees)
