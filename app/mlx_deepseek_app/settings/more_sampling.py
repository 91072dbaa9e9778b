"""The part of the settings with what few change: min p, penalties, words that end an answer."""

from typing import Any

import gradio as gr

from mlx_deepseek_app.conversation.settings import STOPS_AT_MOST, PanelSettings

RANGES = {
    "min_p": (0.0, 1.0, 0.0),
    "repetition_penalty": (1.0, 2.0, 1.0),
    "presence_penalty": (-2.0, 2.0, 0.0),
    "frequency_penalty": (-2.0, 2.0, 0.0),
}  # least, most, off
LABELS = {
    "min_p": ("Min p", "Drops tokens less likely than this share of the likeliest. 0 is off."),
    "repetition_penalty": ("Repetition penalty", "Divides what was just said. 1 is off."),
    "presence_penalty": ("Presence penalty", "Subtracts from what was said at all. 0 is off."),
    "frequency_penalty": ("Frequency penalty", "Subtracts for each time it was said. 0 is off."),
}


class MoreSampling:
    """Its components; `inputs` are read for each reply."""

    def __init__(self) -> None:
        with gr.Accordion("More sampling", open=False, elem_id="more-sampling"):
            self.sliders = {
                name: gr.Slider(
                    low, high, off, step=0.05, label=LABELS[name][0], info=LABELS[name][1]
                )
                for name, (low, high, off) in RANGES.items()
            }
            self.stop = gr.Textbox(
                label="Stop words",
                info="An answer ends before one of them. One to a line.",
                lines=2,
                max_lines=6,
                max_length=2000,
                elem_id="stop-words",
            )
        self.inputs: list[Any] = [*self.sliders.values(), self.stop]

    def read(self, *values: Any) -> dict[str, Any]:
        """The values of `inputs` as settings."""
        if not values:
            return {}
        *numbers, stop = values
        read = {
            name: _within(value, *RANGES[name]) for name, value in zip(RANGES, numbers, strict=True)
        }
        words = tuple(line for line in (stop or "").split("\n") if line.strip())
        return {**read, "stop": words[:STOPS_AT_MOST]}

    def values(self, settings: PanelSettings) -> dict[Any, Any]:
        """Updates of `inputs` to settings that were kept."""
        shown: dict[Any, Any] = {
            slider: getattr(settings, name) for name, slider in self.sliders.items()
        }
        return {**shown, self.stop: "\n".join(settings.stop)}

    def reset(self) -> dict[Any, Any]:
        """Updates of `inputs` to what does nothing."""
        return self.values(PanelSettings())


def _within(value: Any, low: float, high: float, off: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return off
    return float(min(max(value, low), high))
