"""The part of the settings about what is kept: where it lies, all of it as a file, and its end."""

import json
import time
from typing import Any

import gradio as gr

from mlx_deepseek_app.storage.conversations import conversations_of
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.import_export import all_to_json
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.widgets.event_options import QUIET, owner
from mlx_deepseek_app.widgets.markdown import escaped
from mlx_deepseek_app.widgets.status import alert

CLEAR, SURE = "Delete everything", "Really delete everything?"
PARCEL_SCRIPT = "conversations.parcel(props, watch);"
RELOAD = "(done) => { if (done) { history.replaceState(null, '', '/'); location.reload(); } }"
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}


class DataPanel:
    """Its components. What is deleted asks a second time, on the button itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        gr.HTML(f"<h3>Your data</h3>{where_html(store)}", elem_id="data-where")
        with gr.Row(elem_id="data-acts"):
            self.export = gr.Button("Export everything", elem_id="data-export", size="sm")
            self.clear = gr.Button(CLEAR, elem_id="data-clear", size="sm")
        self.note = gr.HTML("", elem_id="data-note")
        self.parcel = gr.HTML("", elem_id="data-parcel", html_template="", js_on_load=PARCEL_SCRIPT)
        self.done = gr.Textbox("", visible=False, label="Done")
        self.export.click(self.on_export, None, [self.parcel, self.note], **AT_ONCE)
        cleared = self.clear.click(
            self.on_clear, self.clear, [self.clear, self.note, self.done], **AT_ONCE
        )
        cleared.then(None, self.done, None, js=RELOAD)

    def on_export(self, request: gr.Request) -> tuple[str, str]:
        """All conversations as a file for the script to save."""
        try:
            kept = conversations_of(self._store, owner(request)).all()
        except StoreError as error:
            return "", alert(str(error))
        if not kept:
            return "", alert("There are no conversations yet.")
        name = f"mlx-deepseek {time.strftime('%Y-%m-%d')}.json"
        return json.dumps({"name": name, "text": all_to_json(kept), "at": time.time()}), ""

    def on_clear(self, request: gr.Request, label: str) -> tuple[Any, str, str]:
        """Ask again, then forget everything; the page begins anew."""
        if label != SURE:
            return gr.Button(SURE, variant="stop"), "", ""
        try:
            conversations_of(self._store, owner(request)).clear()
        except StoreError as error:
            return gr.Button(CLEAR, variant="secondary"), alert(str(error)), ""
        return gr.Button(CLEAR, variant="secondary"), "", "done"


def where_html(store: Store) -> str:
    """Where what is kept lies."""
    if store.path is None:
        return "<p>Nothing is kept: it goes when this tab is closed.</p>"
    return (
        f"<p>Conversations lie in this folder, and nowhere else:</p>"
        f"<p><code>{escaped(str(store.path.parent))}</code></p>"
    )
