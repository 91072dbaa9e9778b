"""The models page as HTML: what to begin with, a card for each model, what fits, its buttons."""

from collections.abc import Mapping, Sequence
from html import escape

from mlx_deepseek_app.models.cards import Card, RecipeFit, billions, gigabytes
from mlx_deepseek_app.models.menu_html import size
from mlx_deepseek_app.models.proposals import PURPOSES, chosen, download_bytes, is_roomy


def room_html(memory: str, disk: str, loaded: str) -> str:
    """What this machine can hold, and what it holds now."""
    held = (
        f'<p class="room">In memory: <b class="name">{escape(loaded)}</b> <button type="button" '
        f'data-act="unload" data-repo="" aria-label="Unload {escape(loaded)}">Unload</button></p>'
        if loaded
        else '<p class="room">No model is in memory.</p>'
    )
    return (
        f'<p class="room">This machine: <b>{escape(memory)}</b> of memory for a model, '
        f"<b>{escape(disk)}</b> free on the disk.</p>{held}"
    )


def proposed_html(proposed: Mapping[str, Card], loaded: str, free_disk: int | None) -> str:
    """Models to begin with, each under what it is proposed for."""
    if not proposed:
        return ""
    items = "".join(_card(card, loaded, free_disk, why) for why, card in proposed.items())
    return (
        '<h3 class="group">Begin with one of these</h3>'
        f'<ul class="cards proposed" aria-label="Proposed">{items}</ul>'
        '<h3 class="group">All models</h3>'
    )


def cards_html(
    found: Sequence[Card], loaded: str, free_disk: int | None = None, hidden: int = 0
) -> str:
    """All cards; `loaded` is the repository of the model in memory, `free_disk` in bytes.

    `hidden` match too, but do not fit into this machine.
    """
    none = "No model matches. Take a word away, or a filter."
    if hidden:
        one = "1 more matches and does not" if hidden == 1 else f"{hidden} more match and do not"
        none = f"{one} fit here."
        none += ' <button type="button" data-act="all" data-repo="">Show all</button>'
    note = f'<p class="none">{none}</p>' if hidden or not found else ""
    items = "".join(_card(card, loaded, free_disk) for card in found)
    return f'<ul class="cards" aria-label="Models">{items}</ul>{note}' if found else note


def _card(card: Card, loaded: str, free_disk: int | None, why: str = "") -> str:
    disk, fitting = _disk(card, free_disk)
    tags = "".join(f"<li>{escape(tag)}</li>" for tag in card.abilities)
    reason = f'<p class="why">{why}</p>' if why else ""
    return (
        f'<li class="card" data-state="{_state(card, loaded)}" data-repo="{escape(card.repo)}">'
        f"{reason}<h3>{escape(card.name)}</h3>"
        f'<p class="purpose">{PURPOSES.get(card.family, card.family)}</p>'
        f'<p class="facts">{escape(_facts(card))}</p>{_fit(card)}{disk}'
        f'<ul class="tags" aria-label="Can do">{tags}</ul><div class="loads"></div>'
        f'<div class="acts">{_buttons(card, loaded, fitting)}{_details(card)}</div></li>'
    )


def _state(card: Card, loaded: str) -> str:
    if card.repo == loaded:
        return "loaded"
    return "here" if card.here else "runs" if card.best or card.streamed else "no"


def _facts(card: Card) -> str:
    if card.built_in:
        return " · ".join((card.family, size(card.nbytes), card.licence))
    parameters = billions(card.parameters)
    if card.active and card.active < card.parameters:
        parameters += f", {billions(card.active)} active"
    context = f"{card.context // 1024}K context" if card.context else "context unknown"
    return " · ".join((parameters, context, card.licence))


def bits(recipe: str) -> str:
    """8bit as people write it."""
    return recipe.replace("bit", "-bit") if recipe.endswith("bit") else recipe


def _fit(card: Card) -> str:
    fit = chosen(card)
    if card.built_in:
        return '<p class="fit good">good fit</p>'
    if not card.runs:
        return '<p class="fit no">This version cannot run it yet.</p>'
    if fit is None:
        smallest = card.fits[-1] if card.fits else None
        reason = smallest.reason if smallest else "its size is not known"
        return f'<p class="fit no">Too large for this machine: {escape(reason)}.</p>'
    got = f" · download {gigabytes(download_bytes(card))}" if not card.here else ""
    if card.streamed is not None:
        least = gigabytes(fit.least_bytes)
        said = f"Larger than the memory: {least} of it at least are loaded, the rest is read: slow"
        return f'<p class="fit tight">{said}{got}</p>'
    word = "good fit" if is_roomy(fit) else "tight fit"
    speed = f" · about {fit.bound_tps:,.0f} tokens/s (computed)" if fit.bound_tps else ""
    return (
        f'<p class="fit {word.split()[0]}"><b>{bits(fit.recipe)}</b> · '
        f"{gigabytes(fit.weights_bytes)} · {word}{speed}{got}</p>"
    )


def _details(card: Card) -> str:
    if not card.best:
        return ""
    options = "".join(_row(fit, fit is card.best) for fit in card.fits)
    return (
        f"<details><summary>Details</summary><p>{escape(card.best.reason)}</p><table><thead><tr>"
        "<th>Recipe</th><th>Weights</th><th>Longest context</th></tr></thead>"
        f"<tbody>{options}</tbody></table></details>"
    )


def _disk(card: Card, free_bytes: int | None) -> tuple[str, list[RecipeFit]]:
    """What is wrong with the disk, and the recipes for which there is room in memory and on it."""
    best = chosen(card)
    fitting = [fit for fit in card.fits if fit.fits or fit is best]
    if free_bytes is None or card.here or best is None:
        return "", fitting
    roomy = [fit for fit in fitting if fit.weights_bytes <= free_bytes or fit.recipe in card.begun]
    if best in roomy:
        return "", roomy
    need, free = gigabytes(best.weights_bytes), gigabytes(free_bytes)
    words = f"Takes {need} of the disk as {bits(best.recipe)}, where {free} are free."
    return f'<p class="fit no">{words}</p>', roomy


def _row(fit: RecipeFit, best: bool) -> str:
    name = f"<b>{bits(fit.recipe)}</b>" if best else bits(fit.recipe)
    context = f"{fit.context:,}" if fit.fits else "does not fit"
    return f"<tr><td>{name}</td><td>{gigabytes(fit.weights_bytes)}</td><td>{context}</td></tr>"


def _buttons(card: Card, loaded: str, fitting: Sequence[RecipeFit]) -> str:
    buttons = []
    if card.repo == loaded:
        buttons.append('<span class="now">In memory</span>')
    elif card.built_in:
        buttons.append(_button("get", card, "Load", "Load"))
    elif chosen(card) and fitting:
        word = "Load" if card.here else "Resume" if card.begun else "Get"
        buttons.append(_button("get", card, word, word) + _recipes(card, fitting))
    if card.begun and card.repo != loaded:
        buttons.append(_button("discard", card, "Discard", "Discard what is there of"))
    if card.here and card.repo != loaded and not card.built_in:
        buttons.append(_button("delete", card, "Delete", "Delete from disk"))
    return "".join(buttons)


def _button(action: str, card: Card, word: str, meaning: str) -> str:
    repo = escape(card.repo, quote=True)
    label = f"{meaning} {escape(card.name, quote=True)}"
    return (
        f'<button type="button" data-act="{action}" data-repo="{repo}" aria-label="{label}">'
        f"{word}</button>"
    )


def _recipes(card: Card, fitting: Sequence[RecipeFit]) -> str:
    """What can be chosen; what was begun is, else the best."""
    names = [fit.recipe for fit in fitting]
    wanted = [*card.begun, *([card.best.recipe] if card.best else []), *names]
    chosen_one = next(name for name in wanted if name in names)
    options = "".join(
        f'<option value="{name}"{" selected" if name == chosen_one else ""}>{bits(name)}</option>'
        for name in names
    )
    label = f"Recipe for {escape(card.name, quote=True)}"
    return f'<select aria-label="{label}">{options}</select>'
