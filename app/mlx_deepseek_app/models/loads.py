"""Models on their way into memory: one at a time for everybody, seen and ended from every page."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import gradio as gr

from mlx_deepseek_app.jobs import model_info
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.queue import Job, watch
from mlx_deepseek_app.models import cards
from mlx_deepseek_app.widgets import status

REFRESH_S = 0.25
WINDOW_S = 10.0  # of the past, over which a speed is told
OWNER = "models"  # of loads: the model is everybody's, and outlives the tab that asked for it


class Speed:
    """How fast a stage goes, from what was done at which time."""

    def __init__(self) -> None:
        self._stage = ""
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, stage: str, done: int, now_s: float) -> None:
        """What is done by now; another stage begins anew."""
        if stage != self._stage:
            self._stage = stage
            self._seen.clear()
        self._seen.append((now_s, done))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """Bytes in a second; 0 while that cannot be told."""
        if len(self._seen) < 2:
            return 0.0
        (first_s, before), (last_s, now) = self._seen[0], self._seen[-1]
        return max(now - before, 0) / (last_s - first_s) if last_s - first_s >= 1 else 0.0


@dataclass
class Load:
    """A model on its way; `dropped` if what was downloaded is to be removed at its end."""

    source: str
    job: Job
    card: cards.Card | None = None
    dropped: bool = False
    begun_s: float = field(default_factory=time.monotonic)
    speed: Speed = field(default_factory=Speed)
    removing: asyncio.Lock = field(default_factory=asyncio.Lock)
    removed: bool = False

    async def remove(self) -> None:
        """Remove what was downloaded, once: each tab that follows the load sees its end."""
        async with self.removing:
            if self.card is not None and not self.removed:
                await asyncio.to_thread(cards.discard, self.card)
            self.removed = True

    @property
    def name(self) -> str:
        """What people call it."""
        return self.card.name if self.card else self.source

    def html(self, *, acts: bool = True) -> str:
        """How far it is, and what can be done about it."""
        stage, done, total = self.job.state or ("", 0, 0)
        now_s = time.monotonic()
        self.speed.note(stage, done, now_s)
        left = status.Progress(stage, done, total, now_s - self.begun_s, self.speed.per_s)
        return status.progress(self.name, left, self.card.repo if self.card else "", acts=acts)


class Loads:
    """Begins loads, follows them, ends them."""

    def __init__(self, service: ModelService) -> None:
        self.service = service
        self._last: Load | None = None

    @property
    def busy(self) -> Load | None:
        """The model on its way, if there is one."""
        first = self.service.first_load
        if self._last is None and first is not None:
            self._last = Load(self.service.first_source, first)
        return None if self._last is None or self._last.job.finished else self._last

    def begin(self, source: str, card: cards.Card | None = None, recipe: str | None = None) -> Load:
        """Load a model in place of the one in memory; one that is chosen instead ends another."""
        self.end()
        self._last = Load(source, self.service.load(OWNER, source, recipe), card)
        return self._last

    def end(self, *, dropped: bool = False) -> None:
        """Pause what is on its way, or drop it and what of it was downloaded."""
        if (busy := self.busy) is not None:
            busy.dropped = dropped
            self.service.loads.cancel(busy.job.owner)

    async def follow(self, load: Load) -> AsyncIterator[str]:
        """HTML of a load until it ends; the last one says how."""
        async for _ in watch(load.job, REFRESH_S):
            if not load.job.finished:
                yield load.html()
            if self._last is not load:  # another was chosen, and is shown in its place
                return
        if load.dropped:
            await load.remove()
        yield self.ended(load)

    def ended(self, load: Load) -> str:
        """How a load has ended."""
        kept = model_info.facts(self.service.engine).name
        if load.job.error:
            return status.load_failed(load.name, load.job.error, kept)
        if load.dropped:
            return status.said(f"{load.name} was cancelled; nothing of it is kept.")
        if load.job.cancelled:
            return status.said(f"{load.name} is paused; what was downloaded is kept.")
        return status.said(f"{load.name} is in memory.")

    # -- handlers ----------------------------------------------------------------------------

    async def on_choose(self, event: gr.EventData) -> AsyncIterator[str]:
        """A model was chosen by its name, its folder or its hub id."""
        source = str(event.source).strip()
        if source:
            async for html in self.follow(self.begin(source)):
                yield html

    async def on_open(self) -> AsyncIterator[str]:
        """A page was opened: show what is on its way, or why the first model is not here."""
        if (busy := self.busy) is not None:
            async for html in self.follow(busy):
                yield html
        elif self._last is not None and self._last.job.error and self.service.engine is None:
            yield self.ended(self._last)

    def on_act(self, event: gr.EventData) -> None:
        """Pause or cancel was pressed; whoever follows the load shows how it ends."""
        self.end(dropped=event.act == "drop")
