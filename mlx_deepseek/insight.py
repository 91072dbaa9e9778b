"""What happens inside a model: which experts tokens choose, and what its cache would else cost."""

from collections.abc import Iterator, Mapping
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
class CacheWidths:
    """Numbers that one token takes in the cache, over all layers.

    `used` by this model; `mha` with all keys and values of its heads (multi-head attention), `gqa`
    with those of GQA_GROUPS groups (arXiv:2405.04434 §2.1.4).
    """

    used: int
    mha: int
    gqa: int


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


def cache_widths(model: nn.Module, config: Mapping[str, Any]) -> CacheWidths:
    """What a token takes in the cache, and would take without latents."""
    layers: Any = model.layers
    used = sum(cache_width(layer.self_attn, config) for layer in layers)
    config = language_config(config)
    heads = config["num_attention_heads"]
    plain = config.get("head_dim") or config["hidden_size"] // heads
    key = (config.get("qk_nope_head_dim") or 0) + (config.get("qk_rope_head_dim") or 0) or plain
    each = len(layers) * (key + (config.get("v_head_dim") or plain))
    return CacheWidths(used, heads * each, min(heads, GQA_GROUPS) * each)
