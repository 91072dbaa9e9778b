"""Counts of what a server does, for Prometheus and for people; never a word of a conversation."""

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mlx_deepseek.generation.results import Usage
from mlx_deepseek_app.server.events import End, Event, Progress

log = logging.getLogger("mlx_deepseek.server")
RECENT = 200
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass
class Live:
    """One generation, running or finished; times in seconds, counts in tokens."""

    id: int
    api: str
    model: str
    state: str = "waiting"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    tokens_per_second: float = 0.0
    first_token_s: float | None = None
    seconds: float = 0.0
    ended: bool = False
    began_s: float = field(default_factory=time.monotonic, repr=False)

    def saw(self, event: Event) -> None:
        """Note what an event tells."""
        if isinstance(event, Progress):
            self.state = "reading" if not event.usage.completion_tokens else "writing"
            self._count(event.usage)
        else:
            self.state = "writing"
            if self.first_token_s is None:
                self.first_token_s = time.monotonic() - self.began_s
            if isinstance(event, End):
                self._count(event.usage)
                self.state, self.ended = event.reason, True

    def shown(self) -> dict[str, Any]:
        """It as JSON."""
        running = self.seconds or time.monotonic() - self.began_s
        values = asdict(self) | {"seconds": round(running, 3)}
        del values["began_s"], values["ended"]
        return values

    def _count(self, usage: Usage) -> None:
        self.prompt_tokens, self.cached_tokens = usage.prompt_tokens, usage.cached_tokens
        self.completion_tokens = usage.completion_tokens
        self.tokens_per_second = round(usage.generation_tps, 2)


class Metrics:
    """A registry of its own for each server, so that several may run in a process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._numbers = count(1)
        self.running: dict[int, Live] = {}
        self.recent: deque[Live] = deque(maxlen=RECENT)
        labels = ("api", "model")
        self._requests = Counter(
            "mlx_deepseek_requests", "Generations", (*labels, "outcome"), registry=registry
        )
        self._responses = Counter(
            "mlx_deepseek_http_responses", "HTTP responses", ("status",), registry=registry
        )
        self._prompt = Counter(
            "mlx_deepseek_prompt_tokens", "Tokens of prompts", labels, registry=registry
        )
        self._cached = Counter(
            "mlx_deepseek_cached_tokens", "Of those, from the cache", labels, registry=registry
        )
        self._written = Counter(
            "mlx_deepseek_completion_tokens", "Tokens written", labels, registry=registry
        )
        self._active = Gauge("mlx_deepseek_active_requests", "Running now", registry=registry)
        self._first = Histogram(
            "mlx_deepseek_first_token_seconds",
            "Time to the first token",
            labels,
            buckets=SECONDS,
            registry=registry,
        )
        self._whole = Histogram(
            "mlx_deepseek_request_seconds",
            "Time of a generation",
            labels,
            buckets=SECONDS,
            registry=registry,
        )

    @contextmanager
    def generation(self, api: str, model: str) -> Iterator[Live]:
        """Counts one generation."""
        live = Live(next(self._numbers), api, model)
        self.running[live.id] = live
        self._active.inc()
        outcome = "failed"
        try:
            yield live
            outcome = live.state
        except BaseException as error:
            if isinstance(error, Exception):
                outcome = "failed"
            else:  # whoever has the whole answer may close it before it is exhausted
                outcome = live.state if live.ended else "cancelled"
            raise
        finally:
            live.state = outcome
            self._finish(live)

    def response(self, status: int) -> None:
        """Counts one HTTP response."""
        self._responses.labels(str(status)).inc()

    def text(self) -> bytes:
        """All counts in Prometheus' format."""
        return generate_latest(self._registry)

    def _finish(self, live: Live) -> None:
        live.seconds = time.monotonic() - live.began_s
        self.recent.append(self.running.pop(live.id))
        self._active.dec()
        labels = (live.api, live.model)
        self._requests.labels(*labels, live.state).inc()
        self._prompt.labels(*labels).inc(live.prompt_tokens)
        self._cached.labels(*labels).inc(live.cached_tokens)
        self._written.labels(*labels).inc(live.completion_tokens)
        self._whole.labels(*labels).observe(live.seconds)
        if live.first_token_s is not None:
            self._first.labels(*labels).observe(live.first_token_s)
        log.info(
            "%s %s: %s after %.2f s, prompt %d tokens (%d cached), answer %d",
            live.api,
            live.model,
            live.state,
            live.seconds,
            live.prompt_tokens,
            live.cached_tokens,
            live.completion_tokens,
        )
