"""The model menu beside the message box: what is in memory, what is on this disk, more."""

from collections.abc import Sequence
from html import escape

from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.models.cards import gigabytes
from mlx_deepseek_app.models.choices import Choice
from mlx_deepseek_app.models.proposals import ROOMY
from mlx_deepseek_app.widgets.icons import icon

MEGABYTES = 10**8  # below that a size in gigabytes says nothing


def menu_html(known: ModelFacts, source: str, found: Sequence[Choice], usable_bytes: int) -> str:
    """A button with the name of the model in memory, and the list that it opens."""
    name = escape(known.name.rsplit("/", 1)[-1])
    shown = f'<b class="name">{name}</b>' if name else "<b>No model</b>"
    here = [choice for choice in found if choice.source != source]
    loaded = [choice for choice in found if choice.source == source]
    loaded = loaded or ([Choice(source, known.name, "", 0)] if source else [])
    return (
        f'<button type="button" class="menu-button" aria-haspopup="dialog" aria-expanded="false" '
        f'title="Choose a model">{shown}{icon("chevron-down")}</button>'
        '<div class="menu" role="dialog" aria-label="Models" hidden>'
        '<input type="text" aria-label="Search models" placeholder="Search, or a folder or '
        'Hugging Face id" autocomplete="off" spellcheck="false">'
        f"{_section('In memory', loaded, usable_bytes, True)}"
        f"{_section('On this disk', here, usable_bytes, False)}"
        f'<button type="button" class="typed" data-source="" hidden>{icon("download")}<span>Load '
        "<b></b></span></button>"
        f'<a href="#models">{icon("box")}<span>Get more models</span></a></div>'
    )


def _section(title: str, found: Sequence[Choice], usable_bytes: int, current: bool) -> str:
    lines = "".join(_line(choice, usable_bytes, current) for choice in found)
    return f"<section><h3>{title}</h3>{lines}</section>" if found else ""


def _line(choice: Choice, usable_bytes: int, current: bool) -> str:
    marked = ' aria-current="true" disabled' if current else ""
    told = " · ".join(filter(None, (choice.kind, size(choice.nbytes), fit(choice, usable_bytes))))
    return (
        f'<button type="button" data-source="{escape(choice.source)}"{marked}>'
        f'<b class="name">{escape(choice.name)}</b><small>{escape(told)}</small>'
        f"{icon('check') if current else ''}</button>"
    )


def size(nbytes: int) -> str:
    """12 MB, 8.7 GB; "" for what is not known."""
    if not nbytes:
        return ""
    return gigabytes(nbytes) if nbytes >= MEGABYTES else f"{nbytes / 1e6:.0f} MB"


def fit(choice: Choice, usable_bytes: int) -> str:
    """Whether the weights leave room in memory for a conversation."""
    if choice.nbytes > usable_bytes:
        return "larger than the memory"
    return "good fit" if choice.nbytes < ROOMY * usable_bytes else "tight fit"
