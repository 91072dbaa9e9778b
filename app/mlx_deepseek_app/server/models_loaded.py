"""Models by name: loaded when they are asked for, and unloaded when others need their memory."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from mlx_deepseek.checkpoint.local_models import local_models
from mlx_deepseek.errors import MemoryLimitError
from mlx_deepseek.runtime import memory
from mlx_deepseek_app.server.errors import ApiError

# Names of DeepSeek's API, and how each of them answers.
ALIASES: Mapping[str, bool | None] = {
    "deepseek-chat": False,
    "deepseek-reasoner": True,
    "deepseek-v4-flash": True,
    "deepseek-v4-pro": True,
}
ANTHROPIC_PREFIX = "claude-"
CHECK_S = 5.0


@dataclass(frozen=True)
class NamedModel:
    """A model as a request names it; `thinking` is what the name says about it."""

    id: str
    source: str
    thinking: bool | None = None


class Models(Protocol):
    """Where a server's engines come from."""

    def listed(self) -> list[str]:
        """Names of the models that can be asked, the default one first."""
        ...

    def named(self, name: str) -> NamedModel:
        """The model that a request means; ApiError if there is none."""
        ...

    def engines(self) -> dict[str, Any]:
        """The engines in memory, by name."""
        ...

    def use(self, name: str) -> Any:
        """A context in which an engine is loaded and stays."""
        ...


@dataclass
class Held:
    """An engine in memory, and how many requests it answers now."""

    engine: Any
    users: int = 0
    last_s: float = field(default_factory=time.monotonic)


def short(source: str) -> str:
    """A model's name in the API: a hub id or an embedded one's as it is, a folder's last part."""
    path = Path(source).expanduser()
    return path.name if path.is_absolute() or path.exists() else source


def find_named(name: str, known: Mapping[str, str], default: str) -> NamedModel:
    """The model of `known`, sources by name, that `name` means.

    Raises:
        ApiError: there is none.
    """
    if not name or name == "default" or name.startswith(ANTHROPIC_PREFIX):
        return NamedModel(default, known[default])
    if name in known:
        return NamedModel(name, known[name])
    if name in ALIASES:
        return NamedModel(default, known[default], ALIASES[name])
    last = [one for one in known if one.rsplit("/", 1)[-1].lower() == name.lower()]
    if len(last) == 1:
        return NamedModel(last[0], known[last[0]])
    near = get_close_matches(name, known, 1)
    raise ApiError(
        f"There is no model {name[:100]!r} here. "
        f"{f'Did you mean {near[0]}? ' if near else ''}GET /v1/models lists those that there are; "
        "others are downloaded by `mlx-deepseek models` and named when the server starts.",
        404,
        param="model",
        code="model_not_found",
    )


class LoadedModels:
    """Loads with `loader(source, progress=...)`; `sources` are named first, the default one first.

    Every other model on this disk is loaded when it is asked for. Those in `pinned` stay; others
    go after `idle_s` without a request (None: never), or when a new one needs their memory.
    """

    def __init__(
        self,
        loader: Callable[..., Any],
        sources: Sequence[str],
        pinned: Sequence[str] = (),
        idle_s: float | None = None,
    ) -> None:
        self._loader = loader
        self._sources = {short(source): source for source in sources}
        self._default = short(sources[0])
        self._pinned = {short(source) for source in pinned}
        self._idle_s = idle_s
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()  # loads run on threads of their own
        self._loading = asyncio.Lock()

    def listed(self) -> list[str]:
        """Names of the models that can be asked, the default one first."""
        return list(self._known())

    def named(self, name: str) -> NamedModel:
        """The model that a request means; ApiError if there is none."""
        if name in self._sources:
            return NamedModel(name, self._sources[name])
        return find_named(name, self._known(), self._default)

    def load(self, source: str) -> None:
        """Load one of the first models now, so that the first request does not wait."""
        held = self._load(short(source))
        held.users -= 1

    @property
    def loaded(self) -> list[str]:
        """Names of the models in memory."""
        with self._lock:
            return list(self._held)

    def engines(self) -> dict[str, Any]:
        """The engines in memory, by name."""
        with self._lock:
            return {name: held.engine for name, held in self._held.items()}

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Any]:
        """The engine of a model's `id`, which stays in memory for so long."""
        held = self._taken(name)
        if held is None:
            async with self._loading:
                held = self._taken(name) or await asyncio.to_thread(self._load, name)
        try:
            yield held.engine
        finally:
            with self._lock:
                held.users -= 1
                held.last_s = time.monotonic()

    async def unload_idle(self) -> None:
        """Unload what nobody asks, for ever; cancel it to end."""
        while self._idle_s is not None:
            await asyncio.sleep(min(CHECK_S, self._idle_s))
            old = time.monotonic() - self._idle_s
            while self._release(old):
                pass

    def close(self) -> None:
        """Give all memory back."""
        with self._lock:
            held, self._held = self._held, {}
        for one in held.values():
            one.engine.close()

    def _known(self) -> dict[str, str]:
        # A conversion of somebody's folder has no name but a digest's: it is served when named.
        found = (model for model in local_models() if model.repo or model.kind == "embedded")
        here = {model.repo or short(model.source): model.source for model in found}
        return {**self._sources, **{n: s for n, s in here.items() if n not in self._sources}}

    def _taken(self, name: str) -> Held | None:
        with self._lock:
            held = self._held.get(name)
            if held is not None:
                held.users += 1
            return held

    def _load(self, name: str) -> Held:
        def progress(stage: str, done: int, total: int) -> None:
            if stage == "load":
                self._make_room(name, total)

        engine = self._loader(self.named(name).source, progress=progress)
        with self._lock:
            self._held[name] = Held(engine, users=1)
            return self._held[name]

    def _make_room(self, name: str, nbytes: int) -> None:
        while not memory.fits_beside(nbytes):
            if not self._release(time.monotonic()):
                if not self.loaded:
                    return  # alone: loading itself says whether it fits
                raise MemoryLimitError(
                    f"{name} needs {nbytes / 1e9:.1f} GB, which do not fit beside "
                    f"{', '.join(self.loaded)}, busy or pinned. Ask again later, or start the "
                    "server with fewer models."
                )

    def _release(self, before_s: float) -> bool:
        """Unload the longest unused of the free models, if it was last used before a time."""
        with self._lock:
            free = [
                (held.last_s, name)
                for name, held in self._held.items()
                if not held.users and name not in self._pinned and held.last_s <= before_s
            ]
            if not free:
                return False
            held = self._held.pop(min(free)[1])
        held.engine.close()
        return True
