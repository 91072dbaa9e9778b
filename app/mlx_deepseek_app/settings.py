"""The settings panel: model, system prompt, thinking, sampling."""

from typing import Any

import gradio as gr

from mlx_deepseek_app import sources
from mlx_deepseek_app.events import QUIET
from mlx_deepseek_app.model import ModelFacts
from mlx_deepseek_app.presets import NONE, PRESETS, preset_of
from mlx_deepseek_app.session import Settings
from mlx_deepseek_app.structure_panel import StructurePanel


class SettingsPanel:
    """Components of the panel; `knobs` are read for each reply, `model_fields` follow the model."""

    def __init__(self) -> None:
        with gr.Column(elem_id="settings", min_width=0):
            with gr.Row(elem_id="settings-head"):
                gr.HTML("<h2>Settings</h2>")
                gr.Button("Close", elem_id="settings-close", size="sm")
            self._model()
            self._system()
            self.thinking = gr.Checkbox(label="Think before answering", value=True, visible=False)
            self.structure = StructurePanel()
            self._sampling()
        self.sampling = [self.temperature, self.top_p, self.top_k, self.max_tokens]
        self.recommended = [*self.sampling, self.seed]
        self.knobs = [self.system, self.thinking, *self.recommended, *self.structure.knobs]
        self.model_fields = [self.thinking, self.structure.tools, *self.sampling]

    def _model(self) -> None:
        self.picker = gr.Dropdown(
            choices=sources.choices(),
            value="nano",
            label="Model",
            info="Pick one, or type a folder or a Hugging Face id.",
            allow_custom_value=True,
            elem_id="picker",
        )
        with gr.Row(elem_id="load-row"):
            self.load = gr.Button("Load model", elem_id="load-button", size="sm")
            self.cancel = gr.Button("Cancel", elem_id="cancel-button", size="sm", visible=False)
        self.outcome = gr.HTML("", elem_id="outcome")

    def _system(self) -> None:
        self.preset = gr.Dropdown(
            choices=list(PRESETS), value=NONE, label="Preset", elem_id="preset"
        )
        self.system = gr.Textbox(
            label="System prompt",
            lines=3,
            max_lines=10,
            elem_id="system",
            placeholder="How the model should behave (optional)",
        )
        # one's own words belong to no preset; `input` is what a person does, not what is set
        self.preset.input(PRESETS.get, self.preset, self.system, queue=False, **QUIET)
        self.system.change(preset_of, self.system, self.preset, queue=False, **QUIET)

    def _sampling(self) -> None:
        with gr.Group():
            self.temperature = gr.Slider(
                0,
                2,
                step=0.05,
                label="Temperature",
                info="0 is always the likeliest token.",
                elem_id="temperature",
            )
            self.top_p = gr.Slider(0.05, 1, step=0.01, label="Top p", elem_id="top-p")
            self.top_k = gr.Slider(0, 200, step=1, label="Top k", info="0 is off.", elem_id="top-k")
            self.max_tokens = gr.Slider(
                16, 2048, step=1, label="Max new tokens", elem_id="max-tokens"
            )
            self.seed = gr.Number(
                value=None,
                precision=0,
                minimum=0,
                label="Seed",
                elem_id="seed",
                placeholder="random",
            )
        self.reset = gr.Button("Reset to recommended", elem_id="reset-button", size="sm")

    def read(
        self,
        system: str,
        thinking: bool,
        temperature: float,
        top_p: float,
        top_k: float,
        max_tokens: float,
        seed: float | None,
        *structure: Any,
    ) -> Settings:
        """The values of `knobs` as settings."""
        return Settings(
            system=system or "",
            thinking=thinking,
            temperature=float(temperature),
            top_p=float(top_p),
            top_k=int(top_k),
            max_tokens=int(max_tokens),
            seed=None if seed is None else int(seed),
            **self.structure.read(*structure),
        )

    def values(self, settings: Settings, known: ModelFacts) -> tuple:
        """Updates of `knobs` to settings that were kept, as far as this model allows."""
        limit = max(known.window, 17)
        tokens = gr.Slider(value=min(settings.max_tokens, limit), maximum=limit)
        recommended = (known.temperature, known.top_p)
        wanted = (settings.temperature, settings.top_p)
        temperature, top_p = (
            gr.Slider(value=better if value is None else value)
            for value, better in zip(wanted, recommended, strict=True)
        )
        return (
            gr.Textbox(value=settings.system),
            gr.Checkbox(value=settings.thinking is not False),
            *(temperature, top_p, gr.Slider(value=settings.top_k), tokens),
            gr.Number(value=settings.seed),
            *self.structure.values(settings),
        )

    def recommendation(self, known: ModelFacts) -> tuple:
        """Updates of `recommended` to the model's values."""
        limit = max(known.window, 17)
        return (
            gr.Slider(value=known.temperature),
            gr.Slider(value=known.top_p),
            gr.Slider(value=0),
            gr.Slider(value=min(known.max_tokens, limit), maximum=limit),
            gr.Number(value=None),
        )

    def fields(self, known: ModelFacts) -> tuple[Any, ...]:
        """Updates of `model_fields` for a model that was just loaded."""
        return (
            gr.Checkbox(visible=known.can_think),
            self.structure.offered(known),
            *self.recommendation(known)[:4],
        )
