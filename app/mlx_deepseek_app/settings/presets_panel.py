"""The part of the settings that holds the system prompt, and the prompts to start from."""

from typing import Any

import gradio as gr

from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.presets import NONE, PRESETS, Presets
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.widgets.event_options import QUIET, owner
from mlx_deepseek_app.widgets.status import alert


class PresetsPanel:
    """Its components; `system` is what is sent."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.preset = gr.Dropdown(
            choices=list(PRESETS),
            value=NONE,
            label="Preset",
            info="To keep a prompt of your own, type a name here and save.",
            allow_custom_value=True,
            elem_id="preset",
        )
        self.system = gr.Textbox(
            label="System prompt",
            lines=3,
            max_lines=10,
            elem_id="system",
            placeholder="How the model should behave (optional)",
        )
        with gr.Row(elem_id="preset-acts"):
            self.keep = gr.Button("Save preset", elem_id="preset-save", size="sm")
            self.drop = gr.Button(
                "Delete preset", elem_id="preset-delete", size="sm", visible=False
            )
        self.note = gr.HTML("", elem_id="preset-note")
        both, shown = [self.preset, self.system], [self.preset, self.system, self.drop, self.note]
        options: dict[str, Any] = {"queue": False, **QUIET}
        # one's own words belong to no preset; `input` is what a person does, not what is set
        self.preset.input(self.on_choose, self.preset, self.system, **options)
        self.system.change(self.on_write, both, self.preset, **options)
        self.preset.change(self.on_named, self.preset, self.drop, **options)
        self.keep.click(self.on_save, both, shown, **options)
        self.drop.click(self.on_delete, self.preset, shown, **options)

    def on_open(self, request: gr.Request) -> Any:
        """A page was opened: offer what was saved before."""
        try:
            return gr.Dropdown(choices=list(self._mine(request).all()))
        except StoreError:  # the list of conversations says so, too
            return gr.skip()

    def on_choose(self, request: gr.Request, name: str | None) -> Any:
        """Take the words of a preset; a name that none has is a new one's."""
        return self._mine(request).all().get(name or "", gr.skip())

    def on_named(self, request: gr.Request, name: str | None) -> Any:
        """Only presets of one's own can be deleted."""
        return gr.Button(visible=self._mine(request).is_own(name))

    def on_write(self, request: gr.Request, name: str | None, system: str | None) -> Any:
        """Say which preset the words are; a new name stays until it is saved."""
        mine = self._mine(request)
        found = mine.name_of(system)
        return gr.skip() if found is None and name not in mine.all() else found

    def on_save(self, request: gr.Request, name: str | None, system: str | None) -> dict[Any, Any]:
        """Keep the words under this name."""
        mine = self._mine(request)
        try:
            kept = mine.save(name, system)
            preset = gr.Dropdown(choices=list(mine.all()), value=kept)
            return {self.preset: preset, self.drop: gr.Button(visible=True), self.note: ""}
        except StoreError as error:
            return {self.note: alert(str(error))}

    def on_delete(self, request: gr.Request, name: str | None) -> dict[Any, Any]:
        """Forget a preset; its words go out of the box with it."""
        mine = self._mine(request)
        try:
            mine.delete(name)
            preset = gr.Dropdown(choices=list(mine.all()), value=NONE)
            return {self.preset: preset, self.system: "", self.note: ""}
        except StoreError as error:
            return {self.note: alert(str(error))}

    def _mine(self, request: gr.Request) -> Presets:
        return Presets(self._store, owner(request))
