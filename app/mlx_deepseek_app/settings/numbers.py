"""Numbers of the settings as they come from sliders and fields, and what is advised beside them."""

from typing import Any

import gradio as gr

from mlx_deepseek_app.conversation.settings import LARGEST_SEED


def number(value: Any, low: float, high: float) -> float | None:
    """What a slider holds, within its ends; None if that is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return float(min(max(value, low), high))


def whole(value: float | None) -> int | None:
    """The number without its fraction."""
    return None if value is None else int(value)


def read_seed(text: str) -> int | None:
    """What was typed as a seed; None for nothing.

    Raises:
        gr.Error: no whole number that a generator takes.
    """
    text = (text or "").strip()
    if not text:
        return None
    if wrong := wrong_seed(text):
        raise gr.Error(wrong)
    return int(text)


def wrong_seed(text: str) -> str:
    """What is wrong with a seed as it was typed; "" if nothing is."""
    text = text.strip()
    if not text or (text.isdecimal() and int(text) <= LARGEST_SEED):
        return ""
    return f"The seed is {text}. Expected a whole number, or nothing for a random one."


def advice(value: float) -> str:
    """What the model's makers recommend, beside the setting."""
    return f"Recommended: {value:,.4g}" if isinstance(value, float) else f"Recommended: {value:,}"
