"""What happens inside a model: which experts and which earlier tokens its tokens choose, and what
its cache would else cost.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.memory import cache_width
from mlx_deepseek.models import language_config

GQA_GROUPS = 8


@dataclass(frozen=True)
class Routing:
    """Which experts a prompt's tokens chose.

    `counts` [M, E] are tokens for each of M MoE layers and E experts, `layers` their places in the
    model; each of `tokens` chose `per_token` experts in each of them.
    """

    layers: tuple[int, ...]
    counts: np.ndarray
    tokens: int
    per_token: int

    @property
    def balance(self) -> tuple[float, ...]:
        """Of each layer, the busiest expert's tokens over the mean; 1 is perfectly even."""
        return tuple(float(row.max() / row.mean()) for row in self.counts)

    @property
    def idle(self) -> tuple[int, ...]:
        """Of each layer, how many experts no token chose."""
        return tuple(int((row == 0).sum()) for row in self.counts)


@dataclass(frozen=True)
class Selection:
    """Which tokens before it each of a prompt's tokens attends to, where an indexer chooses.

    `counts` [L, L] are layers, of `layers` in all, in which the token of a row chose the one of a
    column; each chooses at most `per_token`.
    """

    counts: np.ndarray
    layers: int
    per_token: int


@dataclass(frozen=True)
class CacheWidths:
    """Numbers that one token takes in the cache, over all layers.

    `used` by this model; `mha` with all keys and values of its heads (multi-head attention), `gqa`
    with those of `groups` groups of them (arXiv:2405.04434 §2.1.4).
    """

    used: int
    mha: int
    gqa: int
    groups: int = GQA_GROUPS


class Watched:
    """A router that notes what it chooses."""

    def __init__(self, gate: Any):
        self.gate = gate
        self.chosen: list[mx.array] = []

    def __call__(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """As the router."""
        chosen, weights = self.gate(x)
        self.chosen.append(chosen)
        return chosen, weights


class WatchedIndexer:
    """An indexer that notes which places it chooses, None for all."""

    def __init__(self, indexer: Any):
        self.indexer = indexer
        self.chosen: Any = None

    def __call__(self, *args: Any) -> tuple[mx.array, mx.array] | None:
        """As the indexer."""
        self.chosen = self.indexer(*args)
        return self.chosen

    def __getattr__(self, name: str) -> Any:
        return getattr(self.indexer, name)


@contextmanager
def indexed(model: Any) -> Iterator[list[WatchedIndexer]]:
    """The model's indexers, noting what they choose; as before afterwards."""
    sparse = [layer.self_attn for layer in model.layers if "indexer" in layer.self_attn]
    watching = [WatchedIndexer(attention.indexer) for attention in sparse]
    for attention, one in zip(sparse, watching, strict=True):
        attention.indexer = one
    try:
        yield watching
    finally:
        for attention, one in zip(sparse, watching, strict=True):
            attention.indexer = one.indexer


@contextmanager
def watched(model: Any) -> Iterator[dict[int, Watched]]:
    """The model's routers by layer, noting what they choose; as before afterwards."""
    layers: dict[int, Any] = {
        i: layer.mlp for i, layer in enumerate(model.layers) if isinstance(layer.mlp, MoE)
    }
    watching = {i: Watched(mlp.gate) for i, mlp in layers.items()}
    for i, mlp in layers.items():
        mlp.gate = watching[i]
    try:
        yield watching
    finally:
        for i, mlp in layers.items():
            mlp.gate = watching[i].gate


def routing(watching: Mapping[int, Watched]) -> Routing:
    """What routers have noted; computes it, so call it on the thread that computes."""
    counts, tokens, per_token = [], 0, 0
    for one in watching.values():
        chosen = np.concatenate([np.array(part).reshape(-1, part.shape[-1]) for part in one.chosen])
        tokens, per_token = chosen.shape
        counts.append(np.bincount(chosen.ravel(), minlength=one.gate.weight.shape[0]))
    grid = np.stack(counts) if counts else np.zeros((0, 0), int)
    return Routing(tuple(watching), grid, tokens, per_token)


def selection(watching: Sequence[WatchedIndexer], tokens: int) -> Selection:
    """What indexers have noted of a prompt of `tokens`; computes it, as `routing`."""
    counts = np.zeros((tokens, tokens), np.int32)
    earlier = np.tri(tokens, dtype=np.int32)
    for one in watching:
        if one.chosen is None:  # there were not more than it may choose
            counts += earlier
            continue
        places, allowed = (np.array(part[0]) for part in one.chosen)  # [L, K]
        rows = np.broadcast_to(np.arange(tokens)[:, None], places.shape)
        np.add.at(counts, (rows[allowed], places[allowed]), 1)
    per_token = watching[0].config.topk if watching else tokens
    return Selection(counts, len(watching), per_token)


def cache_widths(model: nn.Module, config: Mapping[str, Any]) -> CacheWidths:
    """What a token takes in the cache, and would take without latents."""
    layers: Any = model.layers
    used = sum(cache_width(layer.self_attn, config) for layer in layers)
    config = language_config(config)
    heads = config["num_attention_heads"]
    plain = config.get("head_dim") or config["hidden_size"] // heads
    key = (config.get("qk_nope_head_dim") or 0) + (config.get("qk_rope_head_dim") or 0) or plain
    each = len(layers) * (key + (config.get("v_head_dim") or plain))
    groups = min(GQA_GROUPS, max(heads // 2, 1))  # of few heads, too, there are groups
    return CacheWidths(used, heads * each, groups * each, groups)
