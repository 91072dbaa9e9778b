"""The settings panel: model, system prompt, thinking, sampling."""

from typing import Any

import gradio as gr

from mlx_deepseek_app import sources
from mlx_deepseek_app.model import ModelFacts
from mlx_deepseek_app.preset_panel import PresetPanel
from mlx_deepseek_app.session import LARGEST_SEED, Settings
from mlx_deepseek_app.store import Store
from mlx_deepseek_app.structure_panel import StructurePanel

GREEDY = "0 is always the likeliest token."


class SettingsPanel:
    """Components of the panel; `knobs` are read for each reply, `model_fields` follow the model."""

    def __init__(self, store: Store) -> None:
        with gr.Column(elem_id="settings", min_width=0):
            with gr.Row(elem_id="settings-head"):
                gr.HTML("<h2>Settings</h2>")
                gr.Button("Close", elem_id="settings-close", size="sm")
            self._model()
            self.prompting = PresetPanel(store)
            self.system = self.prompting.system
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

    def _sampling(self) -> None:
        with gr.Group():
            self.temperature = gr.Slider(
                0,
                2,
                step=0.05,
                label="Temperature",
                info=GREEDY,
                elem_id="temperature",
            )
            self.top_p = gr.Slider(0.05, 1, step=0.01, label="Top p", elem_id="top-p")
            self.top_k = gr.Slider(0, 200, step=1, label="Top k", info="0 is off.", elem_id="top-k")
            self.max_tokens = gr.Slider(
                16, 2048, step=1, label="Max new tokens", elem_id="max-tokens"
            )
            # no Number: an empty one shows, and sends, 0
            self.seed = gr.Textbox(
                label="Seed",
                lines=1,
                max_lines=1,
                max_length=len(str(LARGEST_SEED)),
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
        seed: str,
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
            seed=read_seed(seed),
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
            gr.Textbox(value="" if settings.seed is None else str(settings.seed)),
            *self.structure.values(settings),
        )

    def recommendation(self, known: ModelFacts) -> tuple:
        """Updates of `recommended` to the model's values."""
        limit = max(known.window, 17)
        tokens = min(known.max_tokens, limit)
        return (
            gr.Slider(value=known.temperature, info=f"{advice(known.temperature)} · {GREEDY}"),
            gr.Slider(value=known.top_p, info=advice(known.top_p)),
            gr.Slider(value=0),
            gr.Slider(value=tokens, maximum=limit, info=advice(tokens)),
            gr.Textbox(value=""),
        )

    def fields(self, known: ModelFacts) -> tuple[Any, ...]:
        """Updates of `model_fields` for a model that was just loaded."""
        return (
            gr.Checkbox(visible=known.can_think),
            self.structure.offered(known),
            *self.recommendation(known)[:4],
        )


def read_seed(text: str) -> int | None:
    """What was typed as a seed; None for nothing.

    Raises:
        gr.Error: no whole number that a generator takes.
    """
    text = (text or "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise gr.Error(f"The seed is {text}. Expected a whole number, or nothing for a random one.")
    return int(text)


def advice(value: float) -> str:
    """What the model's makers recommend, beside the setting."""
    return f"Recommended: {value:,.4g}" if isinstance(value, float) else f"Recommended: {value:,}"
