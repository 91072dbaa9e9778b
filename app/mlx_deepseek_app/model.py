"""What the app needs to know of a loaded model, and how it asks it for a reply."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlx_deepseek.cache import KeptCache
from mlx_deepseek.sampling import Sampling
from mlx_deepseek_app.session import Conversation, Settings
from mlx_deepseek_app.structure import response_format, tool_list

# what the engine does where nothing is recommended
FALLBACK_TEMPERATURE = 0.0
FALLBACK_TOP_P = 1.0
FALLBACK_MAX_TOKENS = 2048
KEPT_CONVERSATIONS = 4


@dataclass(frozen=True)
class ModelFacts:
    """Name, window in tokens, recommended settings, whether thinking is optional.

    `sees`: pictures; `modes` are its ways to cut them. `fills`: gaps in code; `calls`: tools.
    """

    name: str = ""
    window: int = 0
    temperature: float = FALLBACK_TEMPERATURE
    top_p: float = FALLBACK_TOP_P
    max_tokens: int = FALLBACK_MAX_TOKENS
    can_think: bool = False
    suggestions: tuple[str, ...] = ()
    sees: bool = False
    modes: tuple[str, ...] = ()
    prompt_format: str = ""
    fills: bool = False
    calls: bool = False


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
        can_think=engine.prompt_format.thinking == "optional",
        suggestions=tuple(engine.suggestions),
        sees=getattr(engine, "sees", False),
        modes=tuple(getattr(engine, "modes", ())),
        prompt_format=getattr(engine.prompt_format, "id", ""),
        fills=getattr(engine, "fills", False),
        calls=getattr(engine.prompt_format, "supports_tools", False),
    )


class KeptCaches:
    """The latent caches of the newest conversations, so that a long history is read once."""

    def __init__(self) -> None:
        self._caches: OrderedDict[str, KeptCache] = OrderedDict()

    def cache(self, key: str, engine: Any) -> KeptCache:
        """A conversation's cache for this engine; a replaced model's are dropped."""
        kept = self._caches.pop(key, None)
        if kept is None or kept.model is not engine.model:
            kept = engine.new_cache()
        self._caches[key] = kept
        others = (name for name, cache in self._caches.items() if cache.model is not engine.model)
        for name in [*others, *list(self._caches)[:-KEPT_CONVERSATIONS]]:
            self._caches.pop(name, None)
        return kept

    def clear(self) -> None:
        """Forget all of them."""
        self._caches.clear()


def reply(
    engine: Any, conversation: Conversation, settings: Settings, kept: KeptCache
) -> Iterable[Any]:
    """The engine's chunks for the open reply of a conversation.

    A reply that is gone on with thinks if it did before.
    """
    begun = conversation.turns[-1]
    thinking = bool(begun.reasoning) if begun.reasoning or begun.text else settings.thinking
    return engine.stream(
        conversation.messages(settings.system, facts(engine).sees),
        max_tokens=settings.max_tokens,
        sampling=Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=settings.seed,
        ),
        thinking=thinking if facts(engine).can_think else None,
        tools=tool_list(settings.tools) if facts(engine).calls else None,
        response_format=response_format(settings.json_answer, settings.schema),
        kept=kept,
    )


def _or(value: float | None, fallback: float) -> float:
    return fallback if value is None else value
