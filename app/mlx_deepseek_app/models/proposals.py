"""Which models to begin with: what each is good for, its download, an order, three proposals."""

import math
from collections.abc import Callable, Iterable, Mapping

from mlx_deepseek import catalog
from mlx_deepseek_app.models.cards import Card, RecipeFit

PURPOSES: Mapping[str, str] = {
    "built in": "A first look, offline",
    "Coder": "Writes and completes code",
    "Coder-V2": "Writes and completes code",
    "LLM": "Conversation, the first generation",
    "MoE": "Conversation, the first mixture of experts",
    "Math": "Solves mathematical problems",
    "VL": "Answers questions about pictures",
    "VL2": "Answers questions about pictures, finds things in them",
    "V2": "Conversation, light on memory",
    "V2.5": "Conversation and code",
    "ESFT": "A base for experts' fine-tuning",
    "Prover": "Proves theorems in Lean",
    "Janus": "Draws pictures and talks about them",
    "V3": "Conversation and code, large",
    "R1": "Thinks long before it answers, large",
    "R1-Distill": "Thinks before it answers, small enough for a laptop",
    "V3.1": "Conversation, thinking and tools, large",
    "V3.2": "Conversation, thinking and tools over long texts, large",
    "OCR": "Reads documents into Markdown",
    "V4": "Conversation, thinking and tools over very long texts",
    "V4.1": "Conversation, thinking and tools over very long texts",
}
# for conversation; the others have a purpose of their own
TALKERS = ("V2", "V2.5", "V3", "R1", "R1-Distill", "V3.1", "V3.2", "V4", "V4.1")
ROOMY = 0.75  # of the memory that can be used; above it a fit is tight
PER_YEAR = 1.2  # of newer training, in doublings of size
BITS_OF_SOURCE = {"e4m3": 8.3}
BITS_WITH_FP4_EXPERTS = 4.5


def download_bytes(card: Card) -> int:
    """About what is downloaded for a model: its makers' files, which are converted here."""
    entry = catalog.find(card.repo)
    if entry is None or card.built_in:
        return 0
    bits = BITS_OF_SOURCE.get((entry.config.get("quantization_config") or {}).get("fmt", ""), 16.0)
    if entry.family.startswith("V4"):
        bits = BITS_WITH_FP4_EXPERTS
    return round(entry.params_total * bits / 8)


def chosen(card: Card) -> RecipeFit | None:
    """What is proposed of a model for this machine."""
    return card.best or card.streamed


def is_roomy(fit: RecipeFit) -> bool:
    """Whether weights leave room for a long conversation and for other programs."""
    return fit.weights_bytes < ROOMY * fit.usable_bytes


def _quality(card: Card) -> float:
    year = float(card.released[:4] or 0) + float(card.released[5:7] or 1) / 12
    return math.log2(max(card.parameters, 1)) + PER_YEAR * year


def _usefulness(card: Card) -> tuple:
    """What is here, then what is meant for conversation and fits well, the best first."""
    fit = card.best
    talks = "chat" in card.abilities and card.family in TALKERS
    return (
        not card.built_in,
        not card.here,
        not card.begun,
        fit is None,
        not talks,
        fit is None or not is_roomy(fit),
        -_quality(card),
    )


def _swiftness(card: Card) -> tuple:
    return (not card.best, card.active or card.parameters)


def _newness(card: Card) -> tuple:
    return tuple(-ord(letter) for letter in card.released)


ORDERS: Mapping[str, Callable[[Card], tuple]] = {
    "best for this machine": _usefulness,
    "fastest": _swiftness,
    "newest": _newness,
    "smallest": lambda card: (card.parameters,),
}


def ordered(found: Iterable[Card], order: str) -> list[Card]:
    """Cards in one of the ORDERS."""
    return sorted(found, key=ORDERS.get(order, _usefulness))


def proposals(found: Iterable[Card]) -> dict[str, Card]:
    """At most three models to get first, by what for."""
    fit = [card for card in found if card.best and is_roomy(card.best) and not card.built_in]
    talkers = [card for card in fit if card.family in TALKERS and "chat" in card.abilities]
    seers = [card for card in fit if "pictures" in card.abilities and "chat" in card.abilities]
    proposed = {}
    if talkers:
        best = max(talkers, key=_quality)
        swift = [card for card in talkers if card is not best]
        proposed["Best for this machine"] = best
        if swift:
            proposed["Fastest"] = min(swift, key=_swiftness)
    if seers:
        proposed["Reads pictures"] = max(seers, key=_quality)
    return proposed
