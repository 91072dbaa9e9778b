"""The models page as HTML: a card for each model, what fits, and its buttons."""

from collections.abc import Sequence
from html import escape

from mlx_deepseek_app.library import Card, RecipeFit, billions, gigabytes


def shelf(found: Sequence[Card], loaded: str, free_disk: int | None = None) -> str:
    """All cards; `loaded` is the repository of the model in memory, `free_disk` in bytes."""
    if not found:
        return '<p class="shelf-empty">No model matches. Take a word away, or a filter.</p>'
    items = "".join(_card(card, loaded, free_disk) for card in found)
    return f'<ul class="shelf" aria-label="Models">{items}</ul>'


def _card(card: Card, loaded: str, free_disk: int | None) -> str:
    title = escape(card.name)
    state = _state(card, loaded)
    disk, fitting = _disk(card, free_disk)
    tags = "".join(f"<li>{escape(tag)}</li>" for tag in card.abilities)
    return (
        f'<li class="card" data-state="{state}"><h3>{title}</h3>'
        f'<p class="facts">{escape(_facts(card))}</p>'
        f'<ul class="tags" aria-label="Can do">{tags}</ul>'
        f'{_fit(card)}{disk}<div class="acts">{_buttons(card, loaded, fitting)}</div></li>'
    )


def _state(card: Card, loaded: str) -> str:
    if card.repo == loaded:
        return "loaded"
    return "here" if card.here else "runs" if card.best else "no"


def _facts(card: Card) -> str:
    size = billions(card.parameters)
    if card.active and card.active < card.parameters:
        size += f", {billions(card.active)} active"
    context = f"{card.context // 1024}K context" if card.context else "context unknown"
    return " · ".join((card.family, size, context, card.licence))


def _fit(card: Card) -> str:
    if not card.runs:
        return '<p class="fit no">This version cannot run it yet.</p>'
    if card.best is None:
        smallest = card.fits[-1] if card.fits else None
        reason = smallest.reason if smallest else "its size is not known"
        return f'<p class="fit no">Too large for this machine: {escape(reason)}.</p>'
    options = "".join(_row(fit, fit is card.best) for fit in card.fits)
    return (
        f'<p class="fit yes">Fits as <b>{card.best.recipe}</b>: {escape(card.best.reason)}.</p>'
        "<details><summary>All recipes</summary><table><thead><tr><th>Recipe</th><th>Weights</th>"
        f"<th>Longest context</th></tr></thead><tbody>{options}</tbody></table></details>"
    )


def _disk(card: Card, free_bytes: int | None) -> tuple[str, list[RecipeFit]]:
    """What is wrong with the disk, and the recipes for which there is room in memory and on it."""
    fitting = [fit for fit in card.fits if fit.fits]
    if free_bytes is None or card.here or card.best is None:
        return "", fitting
    roomy = [fit for fit in fitting if fit.weights_bytes <= free_bytes or fit.recipe in card.begun]
    if card.best in roomy:
        return "", roomy
    need, free = gigabytes(card.best.weights_bytes), gigabytes(free_bytes)
    words = f"Takes {need} of the disk as {card.best.recipe}, where {free} are free."
    return f'<p class="fit no">{words}</p>', roomy


def _row(fit: RecipeFit, best: bool) -> str:
    name = f"<b>{fit.recipe}</b>" if best else fit.recipe
    context = f"{fit.context:,}" if fit.fits else "does not fit"
    return f"<tr><td>{name}</td><td>{gigabytes(fit.weights_bytes)}</td><td>{context}</td></tr>"


def _buttons(card: Card, loaded: str, fitting: Sequence[RecipeFit]) -> str:
    buttons = []
    if card.repo == loaded:
        buttons.append('<span class="now">In memory</span>')
    elif card.best is not None and fitting:
        word = "Load" if card.here else "Resume" if card.begun else "Get"
        buttons.append(_button("get", card, word, word) + _recipes(card, fitting))
    if card.begun and card.repo != loaded:
        buttons.append(_button("discard", card, "Discard", "Discard what is there of"))
    if card.here and card.repo != loaded:
        buttons.append(_button("delete", card, "Delete", "Delete from disk"))
    return "".join(buttons)


def _button(action: str, card: Card, word: str, meaning: str) -> str:
    repo = escape(card.repo, quote=True)
    label = f"{meaning} {escape(card.name, quote=True)}"
    return f'<button data-act="{action}" data-repo="{repo}" aria-label="{label}">{word}</button>'


def _recipes(card: Card, fitting: Sequence[RecipeFit]) -> str:
    """What can be chosen; what was begun is, else the best."""
    names = [fit.recipe for fit in fitting]
    wanted = [*card.begun, *([card.best.recipe] if card.best else []), *names]
    chosen = next(name for name in wanted if name in names)
    options = "".join(
        f'<option value="{name}"{" selected" if name == chosen else ""}>{name}</option>'
        for name in names
    )
    label = f"Recipe for {escape(card.name, quote=True)}"
    return f'<select aria-label="{label}">{options}</select>'
