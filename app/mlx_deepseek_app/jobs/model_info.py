"""What the app needs to know of a loaded model, and how it asks it for a reply."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.engine.answering import DEFAULT_MAX_TOKENS
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.image_generation import DrawSettings
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.conversation.tools_json import response_format, tool_list
from mlx_deepseek_app.jobs import context
from mlx_deepseek_app.jobs.drawn_reply import drawn_reply, to_draw
from mlx_deepseek_app.jobs.picture_tasks import Task, tasks

KEPT_CONVERSATIONS = 4
TITLE_PARAMETERS = 10**9


@dataclass(frozen=True)
class ModelFacts:
    """Name, window in tokens, recommended settings, whether thinking is optional.

    `efforts` are how long it can be asked to think. `sees`: pictures; `modes` are its ways to cut
    them, `tasks` what can be asked of them. `fills`: gaps in code; `calls`: tools; `proves`: Lean
    statements; `drawing`: the authors' values for pictures. `titles`: it can name a conversation.
    """

    name: str = ""
    window: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 0
    can_think: bool = False
    efforts: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    sees: bool = False
    modes: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    fills: bool = False
    calls: bool = False
    proves: bool = False
    titles: bool = False
    drawing: DrawSettings | None = None

    @property
    def draws(self) -> bool:
        """Whether it makes pictures."""
        return self.drawing is not None


def facts(engine: Any) -> ModelFacts:
    """Read an engine's facts; no engine gives the empty facts."""
    if engine is None:
        return ModelFacts()
    recommended = getattr(getattr(engine, "entry", None), "sampling", None)
    advised = [getattr(recommended, name, None) for name in ("temperature", "top_p")]
    used = Sampling().filled(*advised)  # what the engine does where nothing is recommended
    asked = getattr(recommended, "max_tokens", None) or DEFAULT_MAX_TOKENS
    style = engine.prompt_format
    modes = tuple(getattr(engine, "modes", ()))
    return ModelFacts(
        name=engine.name,
        window=engine.context_length,
        temperature=used.temperature or 0.0,
        top_p=1.0 if used.top_p is None else used.top_p,
        max_tokens=min(asked, engine.context_length),
        can_think=style.thinking == "optional",
        efforts=tuple(getattr(style, "efforts", ())),
        suggestions=tuple(engine.suggestions),
        sees=getattr(engine, "sees", False),
        modes=modes,
        tasks=tasks(getattr(style, "user_may", ()), modes),
        fills=getattr(engine, "fills", False),
        calls=getattr(style, "supports_tools", False),
        drawing=getattr(engine, "draw_defaults", None),
        proves="proofs" in getattr(getattr(engine, "entry", None), "skills", ())
        or getattr(style, "id", "").startswith("prover"),
        titles=_writes_titles(getattr(engine, "entry", None), style),
    )


def _writes_titles(entry: Any, style: Any) -> bool:
    """Whether a model is made for conversation, large enough, and need not think first."""
    return (
        getattr(entry, "params_total", 0) >= TITLE_PARAMETERS
        and not {"documents", "proofs"} & set(entry.skills)
        and getattr(style, "supports_chat", False)
        and style.thinking in ("never", "optional")
    )


class ConversationCaches:
    """The latent caches of the newest conversations, so that a long history is read once."""

    def __init__(self) -> None:
        self._caches: dict[str, PromptCache] = {}  # oldest first
        self._lock = Lock()

    def cache(self, key: str, engine: Any) -> PromptCache:
        """A conversation's cache for this engine; a replaced model's are dropped."""
        with self._lock:
            fit = {name: one for name, one in self._caches.items() if one.model is engine.model}
            own = fit.pop(key, None)
            own = engine.new_cache() if own is None else own
            others = list(fit.items())[1 - KEPT_CONVERSATIONS :]
            self._caches = dict([*others, (key, own)])
            return own

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._caches.clear()


@dataclass(frozen=True)
class Prepared:
    """What an engine is asked for a reply; `forgotten` turns did not fit its window."""

    messages: list[dict[str, Any]]
    options: dict[str, Any]
    forgotten: int = 0
    drawing: str = ""

    def start(self, engine: Any, prompt_cache: PromptCache) -> Iterable[Any]:
        """The engine's chunks, or those of a picture."""
        if self.drawing:
            return drawn_reply(engine, self.drawing, self.options["seed"])
        return engine.stream(self.messages, prompt_cache=prompt_cache, **self.options)


def prepared(
    engine: Any, conversation: Conversation, settings: PanelSettings, tools: Sequence[Any] = ()
) -> Prepared:
    """What to ask for the open reply of a conversation.

    A reply that is gone on with thinks if it did before. `tools` are offered beside those that the
    settings describe.
    """
    begun = conversation.messages[-1]
    thinking = bool(begun.reasoning) if begun.reasoning or begun.text else settings.thinking
    known = facts(engine)
    if known.draws and (wanted := to_draw(conversation.messages[-2].text)):
        return Prepared([], {"seed": settings.seed}, drawing=wanted)
    options: dict[str, Any] = {
        "thinking": thinking if known.can_think else None,
        "tools": [*tools, *(tool_list(settings.tools) or ())] or None if known.calls else None,
        "response_format": response_format(settings.json_answer, settings.schema),
        **({"effort": settings.effort} if settings.effort in known.efforts else {}),
    }
    limit = context.room(known.window, settings.max_tokens or known.max_tokens)
    messages, forgotten = context.fitted(
        conversation.prompt(settings.system, known.sees),
        settings.overflow,
        lambda some: engine.count_tokens(some, **options) <= limit,
    )
    sampling = Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        seed=settings.seed,
        min_p=settings.min_p,
        repetition_penalty=None
        if settings.repetition_penalty == 1
        else settings.repetition_penalty,
        presence_penalty=settings.presence_penalty,
        frequency_penalty=settings.frequency_penalty,
    )
    options |= {"max_tokens": settings.max_tokens, "sampling": sampling, "stop": settings.stop}
    return Prepared(messages, options, forgotten)
