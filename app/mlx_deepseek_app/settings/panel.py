"""The settings panel: system prompt, sampling, form of answers, the app itself."""

from typing import Any

import gradio as gr

from mlx_deepseek_app.chat.composer import Composer
from mlx_deepseek_app.conversation.settings import LARGEST_SEED, Overflow, PanelSettings
from mlx_deepseek_app.jobs.model_info import ModelFacts, facts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.settings.app_html import app_html
from mlx_deepseek_app.settings.checked import checked
from mlx_deepseek_app.settings.data_panel import DataPanel
from mlx_deepseek_app.settings.more_sampling import MoreSampling
from mlx_deepseek_app.settings.numbers import advice, number, read_seed, whole, wrong_seed
from mlx_deepseek_app.settings.presets_panel import PresetsPanel
from mlx_deepseek_app.settings.titles_panel import TitlesPanel
from mlx_deepseek_app.settings.tools_json_panel import ToolsJsonPanel
from mlx_deepseek_app.settings.tools_panel import ToolsPanel
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.model_settings import ModelSettings
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tools.toolbox import Toolbox
from mlx_deepseek_app.widgets.event_options import QUIET
from mlx_deepseek_app.widgets.status import alert, said

Updates = dict[Any, Any]
OVERFLOW: dict[Overflow, str] = {
    "oldest": "Forget the oldest turns",
    "middle": "Keep the start and the end",
    "stop": "Stop",
}
GREEDY = "0 always takes the likeliest token."


class SettingsPanel:
    """Components of the panel; `inputs` are read for each reply, `follows` follow the model.

    The switches for thinking are the composer's.
    Until they have followed one (`model` is empty), what it recommends counts, not what they show.
    """

    def __init__(
        self,
        service: ModelService,
        store: Store,
        composer: Composer,
        toolbox: Toolbox | None = None,
    ) -> None:
        self.service = service
        # where visitors share the app, none keeps settings for all
        self._kept = ModelSettings(store, "") if store.path else None
        self.thinking, self.effort = composer.thinking, composer.effort
        # In the browser, as the sliders are: a State would be ahead of them.
        self.model = gr.Textbox("", label="Model", visible=False)
        with gr.Column(elem_id="settings", min_width=0):
            with gr.Row(elem_id="settings-head"):
                gr.HTML("<h2>Settings</h2>")
                gr.Button("Close", elem_id="settings-close", size="sm")
            self.presets = PresetsPanel(store)
            self.system = self.presets.system
            self._sampling()
            self.more = MoreSampling()
            self.tools = ToolsPanel(toolbox or Toolbox())
            self.tools_json = ToolsJsonPanel()
            self.titles = TitlesPanel(store)
            DataPanel(store)
            gr.HTML(app_html(), elem_id="app-settings")
        self.sampling = [self.temperature, self.top_p, self.top_k, self.max_tokens]
        self.inputs: list[Any] = [self.model, self.system, self.thinking, self.effort]
        self.inputs += [*self.sampling, self.seed, self.overflow, *self.tools_json.inputs]
        self.inputs += [*self.tools.inputs, *self.more.inputs]
        composers = (self.thinking, self.effort)  # which follow the model there
        self.follows: list[Any] = [one for one in self.inputs if one not in composers]
        self.follows.append(self.tools.servers)
        recommended = [*self.sampling, self.seed, *self.more.inputs]
        self.reset.click(self.on_reset, None, recommended, queue=False, **QUIET)
        self.keep.click(self.on_keep, self.inputs, self.kept, queue=False, **QUIET)
        self.reset.click(self.on_forget, None, self.kept, queue=False, **QUIET)

    def _sampling(self) -> None:
        with gr.Group():
            self.temperature = gr.Slider(
                0, 2, step=0.05, label="Temperature", info=GREEDY, elem_id="temperature"
            )
            self.top_p = gr.Slider(0.05, 1, step=0.01, label="Top p", elem_id="top-p")
            self.top_k = gr.Slider(0, 200, step=1, label="Top k", info="0 is off.", elem_id="top-k")
            self.max_tokens = gr.Slider(
                1, 2048, step=1, label="Max new tokens", elem_id="max-tokens"
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
            checked(self.seed, wrong_seed)
        self.overflow = gr.Dropdown(
            [(words, name) for name, words in OVERFLOW.items()],
            value="oldest",
            label="When the context is full",
            elem_id="overflow",
        )
        with gr.Row(elem_id="sampling-acts"):
            self.keep = gr.Button(
                "Keep for this model", elem_id="keep-button", size="sm", visible=bool(self._kept)
            )
            self.reset = gr.Button("Reset to recommended", elem_id="reset-button", size="sm")
        self.kept = gr.HTML("", elem_id="kept-note")

    def read(
        self,
        model: str,
        system: str,
        thinking: bool,
        effort: str | None,
        temperature: float,
        top_p: float,
        top_k: float,
        max_tokens: float,
        seed: str,
        overflow: Any,
        *structure: Any,
    ) -> PanelSettings:
        """The values of `inputs` as settings; before they are filled, those kept for the model."""
        if not model and (kept := self._own()) is not None:
            return kept
        numbers: dict[str, Any] = {
            "temperature": number(temperature, 0, 2),
            "top_p": number(top_p, 0.05, 1),
            "top_k": int(number(top_k, 0, 200) or 0),
            "max_tokens": whole(number(max_tokens, 1, 2**31)),
        }
        return PanelSettings(
            system=system or "",
            thinking=thinking,
            effort=effort or "",
            seed=read_seed(seed),
            overflow=overflow if overflow in OVERFLOW else "oldest",
            **(numbers if model else {}),
            **self.tools_json.read(*structure[:3]),
            **self.tools.read(*structure[3:4]),
            **self.more.read(*structure[4:]),
        )

    def values(self, settings: PanelSettings, known: ModelFacts) -> Updates:
        """Updates of `inputs` to settings that were kept, as far as this model allows."""
        limit = max(known.window, 1)
        tokens = settings.max_tokens or known.max_tokens
        temperature, top_p = settings.temperature, settings.top_p
        return {
            self.model: self.service.source,
            self.system: settings.system,
            self.thinking: settings.thinking is not False,
            self.effort: settings.effort if settings.effort in known.efforts else "",
            self.temperature: known.temperature if temperature is None else temperature,
            self.top_p: known.top_p if top_p is None else top_p,
            self.top_k: settings.top_k,
            self.max_tokens: gr.Slider(value=min(tokens, limit), maximum=limit),
            self.seed: "" if settings.seed is None else str(settings.seed),
            self.overflow: settings.overflow,
            **self.tools_json.values(settings),
            **self.tools.values(settings),
            **self.more.values(settings),
        }

    def begun(self) -> Updates:
        """Updates of `inputs` for a new conversation: what was kept for the model, if it was."""
        kept = self._own()
        return {} if kept is None else self.values(kept, facts(self.service.engine))

    def on_reset(self) -> Updates:
        """The sampling settings that the model's makers recommend."""
        known = facts(self.service.engine)
        return {**self._recommended(known), self.seed: "", **self.more.reset()}

    def on_keep(self, *inputs: Any) -> str:
        """New conversations with this model begin with these settings."""
        assert self._kept is not None
        try:
            self._kept.keep(self.service.source, self.read(*inputs))
        except StoreError as error:
            return alert(str(error))
        return said("Kept: new chats with this model begin so.")

    def on_forget(self) -> str:
        """They begin with what is recommended again."""
        try:
            if self._kept is not None:
                self._kept.forget(self.service.source)
        except StoreError as error:
            return alert(str(error))
        return ""

    def _recommended(self, known: ModelFacts, kept: PanelSettings | None = None) -> Updates:
        """What the model's makers recommend, with what was kept in its place."""
        mine = kept or PanelSettings()
        limit = max(known.window, 1)
        tokens = min(known.max_tokens, limit)
        temperature = known.temperature if mine.temperature is None else mine.temperature
        top_p = known.top_p if mine.top_p is None else mine.top_p
        advised = f"{GREEDY} · {advice(known.temperature)}"
        most = min(mine.max_tokens or tokens, limit)
        return {
            self.temperature: gr.Slider(value=temperature, info=advised),
            self.top_p: gr.Slider(value=top_p, info=advice(known.top_p)),
            self.top_k: mine.top_k,
            self.max_tokens: gr.Slider(value=most, maximum=limit, info=advice(tokens)),
        }

    def on_model(self, known: ModelFacts) -> Updates:
        """Updates for a model that was just loaded."""
        kept = self._own()
        shown: Updates = {}
        if kept is not None:
            shown = self.values(kept, known)
            del shown[self.effort]  # whose choices the message box sets
            thinks = kept.thinking is not False
            shown[self.thinking] = gr.Checkbox(visible=known.can_think, value=thinks)
        own: dict[str, Any] = {} if kept is None else {"value": kept.tools}
        use: dict[str, Any] = {} if kept is None else {"value": kept.use_tools}
        return {
            **shown,
            self.model: self.service.source,
            **self.tools.on_model(known.calls),
            self.tools_json.tools: gr.Textbox(visible=known.calls, **own),
            self.tools.use: gr.Checkbox(visible=known.calls, **use),
            **self._recommended(known, kept),
        }

    def _own(self) -> PanelSettings | None:
        """What was kept for the model in memory."""
        try:
            return self._kept.of(self.service.source) if self._kept else None
        except StoreError:  # the list of conversations says so, too
            return None
