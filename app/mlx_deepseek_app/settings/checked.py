"""A field that is looked at when it is left: what is wrong with it stands below it."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from mlx_deepseek_app.widgets.event_options import QUIET
from mlx_deepseek_app.widgets.status import alert

# the field is marked, too, for the eye and for those who listen
SCRIPT = "shell.wrong(element, watch);"


def checked(field: gr.Textbox, wrong: Callable[[str], str]) -> gr.HTML:
    """Make the note below `field`, which `wrong` fills; it goes with the next change."""
    note = gr.HTML("", elem_id=f"{field.elem_id}-wrong", elem_classes="wrong", js_on_load=SCRIPT)
    at_once: dict[str, Any] = {**QUIET, "queue": False}
    field.blur(lambda text: alert(wrong(text or "")), field, note, **at_once)
    field.change(None, None, note, js="() => ''", **at_once)
    return note
