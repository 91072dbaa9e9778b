"""DeepSeekMoE: router, routed experts, shared experts (arXiv:2401.06066, 2412.19437 §2.1.2)."""

from collections.abc import Callable
from functools import cache, partial

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.config import MoEConfig, RouterConfig
from mlx_deepseek.layers.experts import Experts
from mlx_deepseek.layers.mlp import MLP


class Router(nn.Module):
    """Chooses K of E experts per token, in float32."""

    def __init__(self, config: RouterConfig):
        super().__init__()
        self.config = config
        self.weight = mx.zeros((config.experts, config.hidden))
        if config.method == "noaux_tc":
            self.e_score_correction_bias = mx.zeros((config.experts,))

    def __call__(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """Expert numbers [..., K] and their weights [..., K] for x [..., D]."""
        # Float32 as the reference: near-ties decide which experts run.
        logits = x.astype(mx.float32) @ self.weight.astype(mx.float32).T
        return choose_experts(self.config, logits, self.get("e_score_correction_bias"), x.dtype)


def choose_experts(
    config: RouterConfig, logits: mx.array, bias: mx.array | None, dtype: mx.Dtype = mx.float32
) -> tuple[mx.array, mx.array]:
    """Pick experts by score (plus `bias`), weigh them by score without it (2412.19437 eq. 16).

    The weights come in `dtype`.

    Group-limited methods keep the groups with the best score: the sum of the two best experts for
    noaux_tc, the best one for group_limited_greedy (arXiv:2405.04434 §2.2.2). Experts of other
    groups get -inf; zero, as the first remote code had it, wins over negative biased scores.
    """
    return _compiled(config, dtype)(logits, bias)


def _choose(
    config: RouterConfig, dtype: mx.Dtype, logits: mx.array, bias: mx.array | None
) -> tuple[mx.array, mx.array]:
    scores = mx.sigmoid(logits) if config.scoring == "sigmoid" else mx.softmax(logits, axis=-1)
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
    weights = mx.take_along_axis(scores, chosen, axis=-1)
    if config.normalise and config.per_token > 1:
        weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-20)
    return chosen, (weights * config.scale).astype(dtype)


@cache
def _compiled(config: RouterConfig, dtype: mx.Dtype) -> Callable[..., tuple[mx.array, mx.array]]:
    """One compiled selection per configuration, so that its small kernels fuse."""
    return mx.compile(partial(_choose, config, dtype))


class MoE(nn.Module):
    """Shared experts see every token; routed ones those that chose them. None is dropped."""

    def __init__(self, config: MoEConfig):
        super().__init__()
        hidden = config.router.hidden
        self.gate = Router(config.router)
        self.switch_mlp = Experts(hidden, config.width, config.router.experts)
        if config.shared_width:
            self.shared_experts = MLP(hidden, config.shared_width)

    def __call__(self, x: mx.array) -> mx.array:
        """Transform x [..., D]."""
        chosen, weights = self.gate(x)
        y = self.switch_mlp(x, chosen)  # [..., K, D]
        weights = weights[..., None, :]  # in x's precision, as DeepSeek's inference code
        if "shared_experts" not in self:
            return (weights @ y).squeeze(-2)
        return mx.addmm(self.shared_experts(x)[..., None, :], weights, y).squeeze(-2)
