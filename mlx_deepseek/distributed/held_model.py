"""What a rank other than 0 holds of one model: some layers, and their caches, by number."""

from copy import deepcopy
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_attention_mask

from mlx_deepseek.cache.blocks import join
from mlx_deepseek.cache.padded_batch import CacheBatch
from mlx_deepseek.cache.prefix_cache import PrefixCache
from mlx_deepseek.cache.prompt_cache import empty_caches, reachable, trim
from mlx_deepseek.cache.remote_cache import repeat_rows
from mlx_deepseek.distributed.link import Link
from mlx_deepseek.distributed.plan import Plan
from mlx_deepseek.distributed.shares import FollowersLayers
from mlx_deepseek.distributed.states import arrays_of, kind, state_of, tap_of
from mlx_deepseek.layers.step import Step
from mlx_deepseek.models.decoder import DecoderLayer


class HeldModel:
    """This machine's part of a model, and what it holds of prompts, by number."""

    def __init__(self, part: FollowersLayers, plan: Plan, prefixes: PrefixCache | None):
        self.part, self.plan, self.prefixes = part, plan, prefixes
        self.caches: dict[int, Any] = {}  # a list of caches, or a CacheBatch
        self._blocks: dict[int, Any] = {}

    def do(self, deed: str, facts: dict[str, Any]) -> None:
        """Something that rank 0 has done to a cache."""
        getattr(self, f"do_{deed}")(**facts)

    def do_new(self, cache: int, bits: int | None) -> None:
        """An empty one."""
        self.caches[cache] = empty_caches(self.part, bits)

    def do_forget(self, cache: int) -> None:
        """Nobody needs it any more."""
        self.caches.pop(cache, None)

    def do_copy(self, cache: int, source: int) -> None:
        """A copy, which shares memory until somebody writes."""
        self.caches[cache] = deepcopy(self.caches[source])

    def do_reserve(self, cache: int, tokens: int) -> None:
        """A prompt of so many tokens comes."""
        for one in self.caches[cache]:
            if hasattr(one, "reserve"):
                one.reserve(tokens)

    def do_trim(self, cache: int, tokens: int) -> None:
        """Only so many tokens stay."""
        trim(self.caches[cache], tokens)

    def do_join(self, cache: int, parts: list[int]) -> None:
        """Rows become a batch; the first of them may be one already."""
        held = [self.caches[number] for number in parts]
        if isinstance(held[0], CacheBatch):
            held[0].extend(held[1:])
            self.caches[cache] = held[0]
        else:
            self.caches[cache] = CacheBatch(held)

    def do_empty(self, cache: int, source: int, rows: int) -> None:
        """A batch without tokens."""
        self.caches[cache] = CacheBatch.empty(self.caches[source], rows)

    def do_filter(self, cache: int, rows: list[int]) -> None:
        """Some rows of a batch stay."""
        self.caches[cache].filter(rows)

    def do_extract(self, cache: int, source: int, row: int) -> None:
        """A row of a batch by itself."""
        self.caches[cache] = self.caches[source].extract(row)

    def do_repeat(self, cache: int, times: int) -> None:
        """Each row so many times."""
        repeat_rows(self.caches[cache], times)

    def do_store(self, cache: int, names: list[str]) -> None:
        """Keep blocks for later prompts."""
        if self.prefixes is not None:
            self.prefixes.keep(names, self.caches[cache])

    def do_fill(self, cache: int, blocks: int) -> None:
        """As many blocks as all machines have found come into an empty cache."""
        found, tail = self._blocks.pop(cache)
        if blocks:
            join(found, self.caches[cache], tail)

    def ask_restore(self, cache: int, names: list[str]) -> dict[str, Any]:
        """How many blocks of a prompt there are."""
        found, tail = self.prefixes.load(names, self.caches[cache]) if self.prefixes else ([], None)
        self._blocks[cache] = found, tail
        return {"count": len(found)}

    def ask_reach(self, cache: int, position: int) -> dict[str, Any]:
        """The last position, at most `position`, that a cache can go back to."""
        return {"count": reachable(self.caches[cache], position)}

    def step(self, link: Link, facts: dict[str, Any]) -> None:
        """Compute this part's share of a step, and hand it on."""
        whole = self.plan.mode == "tensor"
        ids, types = (
            None if facts[name] is None else link.handed_on(*kind(facts[name]))
            for name in ("ids", "types")
        )
        step = Step(ids, types)
        take = link.handed_on if whole else link.receive
        x = state_of([take(*kind(one)) for one in facts["state"]])
        taps = [link.receive(*tap_of(x)) for _ in range(self.part.taps)]
        held = self.caches[facts["cache"]] if facts["cache"] is not None else None
        layers = self.part.layers
        caches = held.layers if isinstance(held, CacheBatch) else held or [None] * len(layers)
        for layer, cache in zip(layers, caches, strict=True):
            ours = isinstance(layer, DecoderLayer)
            x = layer(x, step if ours else create_attention_mask(x, cache), cache)
        if not whole:
            for one in (*arrays_of(x), *taps, *step.shared.get("taps", [])):
                link.send(one)
        mx.eval(x, [cache.state for cache in caches if cache is not None])
