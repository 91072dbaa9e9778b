"""What the app needs to know of a loaded model, and how it asks it for a reply."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlx_deepseek_app.session import Conversation, Settings

FALLBACK_TEMPERATURE = 0.6
FALLBACK_TOP_P = 0.95
FALLBACK_MAX_TOKENS = 2048


@dataclass(frozen=True)
class ModelFacts:
    """Name, window in tokens, recommended settings, what the prompt format can express."""

    name: str = ""
    window: int = 0
    temperature: float = FALLBACK_TEMPERATURE
    top_p: float = FALLBACK_TOP_P
    max_tokens: int = FALLBACK_MAX_TOKENS
    origin: str = ""
    can_think: bool = False
    thinks_always: bool = False
    takes_system: bool = True
    suggestions: tuple[str, ...] = ()


def facts(engine: Any) -> ModelFacts:
    """Read an engine's facts; no engine gives the empty facts."""
    if engine is None:
        return ModelFacts()
    recommended = getattr(getattr(engine, "entry", None), "sampling", None)
    window = engine.context_length
    asked = getattr(recommended, "max_tokens", None) or FALLBACK_MAX_TOKENS
    return ModelFacts(
        name=engine.name,
        window=window,
        temperature=_or(getattr(recommended, "temperature", None), FALLBACK_TEMPERATURE),
        top_p=_or(getattr(recommended, "top_p", None), FALLBACK_TOP_P),
        max_tokens=min(asked, window),
        origin=getattr(recommended, "source", "") or "",
        can_think=bool(getattr(engine.prompt_format, "supports_thinking", False)),
        takes_system=bool(getattr(engine.prompt_format, "supports_system", True)),
        suggestions=tuple(engine.suggestions),
    )


def reply(engine: Any, conversation: Conversation, settings: Settings) -> Iterable[Any]:
    """The engine's chunks for the open reply of a conversation."""
    from mlx_deepseek import Sampling

    known = facts(engine)
    return engine.stream(
        conversation.messages(settings.system if known.takes_system else ""),
        max_tokens=settings.max_tokens,
        sampling=Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=settings.seed,
        ),
        thinking=settings.thinking if known.can_think else None,
    )


def _or(value: float | None, fallback: float) -> float:
    return fallback if value is None else value
