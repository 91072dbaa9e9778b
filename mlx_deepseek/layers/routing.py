"""How a token chooses its experts, as MLX's operations (arXiv:2401.06066 §3, 2412.19437 §2.1.2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

import mlx.core as mx
import mlx.nn as nn

# Expert numbers [..., K] and weights [..., K] of logits [..., E] and a bias [E].
Choosing = Callable[[mx.array, mx.array | None], tuple[mx.array, mx.array]]


@dataclass(frozen=True)
class RouterConfig:
    """How tokens choose experts (arXiv:2412.19437 §2.1.2).

    With a `table` for so many token numbers, experts are looked up. `pictures`: what belongs to a
    picture is routed by scores with a bias of its own.
    """

    hidden: int
    experts: int
    per_token: int
    scoring: str = "softmax"  # softmax | sigmoid | sqrtsoftplus
    method: str = "greedy"  # greedy | group_limited_greedy | noaux_tc
    groups: int = 1
    groups_kept: int = 1
    normalise: bool = False
    scale: float = 1.0
    table: int | None = None
    pictures: bool = False


def _choose(
    config: RouterConfig, dtype: mx.Dtype, logits: mx.array, bias: mx.array | None
) -> tuple[mx.array, mx.array]:
    scores = SCORES[config.scoring](logits)
    ranking = scores if bias is None else scores + bias
    if config.method != "greedy" and config.groups > config.groups_kept:
        grouped = mx.unflatten(ranking, -1, (config.groups, -1))  # [..., groups, E / groups]
        best = mx.topk(grouped, 2 if config.method == "noaux_tc" else 1, axis=-1)
        dropped = config.groups - config.groups_kept
        worst = mx.argpartition(best.sum(-1, keepdims=True), kth=dropped - 1, axis=-2)
        floor = mx.array(-mx.inf, dtype=ranking.dtype)
        ranking = mx.put_along_axis(grouped, worst[..., :dropped, :], floor, axis=-2).flatten(-2)
    chosen = mx.argpartition(ranking, kth=-config.per_token, axis=-1)
    chosen = mx.stop_gradient(chosen[..., -config.per_token :])
    return chosen, weigh(config, scores, chosen).astype(dtype)


def weigh(config: RouterConfig, scores: mx.array, chosen: mx.array) -> mx.array:
    """Weights [..., K] of the experts `chosen` [..., K] by their scores [..., E]."""
    weights = mx.take_along_axis(scores, chosen, axis=-1)
    if config.normalise:
        weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-20)
    return weights * config.scale


SCORES: Mapping[str, Callable[[mx.array], mx.array]] = {
    "softmax": partial(mx.softmax, axis=-1),
    "sigmoid": mx.sigmoid,
    "sqrtsoftplus": lambda logits: mx.sqrt(nn.softplus(logits)),
}


@cache
def by_operations(config: RouterConfig, dtype: mx.Dtype) -> Choosing:
    """One compiled selection per configuration, so that its small kernels fuse."""
    return mx.compile(partial(_choose, config, dtype))
