"""DeepSeekMoE: router, routed experts, shared experts (arXiv:2401.06066, 2412.19437 §2.1.2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.experts import Experts
from mlx_deepseek.layers.masks import Mask
from mlx_deepseek.layers.mlp import MLP
from mlx_deepseek.layers.step import Step


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


@dataclass(frozen=True)
class MoEConfig:
    """Fine-grained routed experts beside shared ones (arXiv:2401.06066 §3); `limit` bounds them."""

    router: RouterConfig
    width: int
    shared_width: int
    limit: float | None = None


class Router(nn.Module):
    """Chooses K of E experts per token, in float32."""

    def __init__(self, config: RouterConfig):
        super().__init__()
        self.config = config
        self.weight = mx.zeros((config.experts, config.hidden))
        if config.method == "noaux_tc" and (config.table is None or config.pictures):
            self.e_score_correction_bias = mx.zeros((config.experts,))
        if config.pictures:
            self.e_score_correction_bias_vl = mx.zeros((config.experts,))

    def __call__(self, x: mx.array, step: Step | Mask = None) -> tuple[mx.array, mx.array]:
        """Expert numbers [..., K] and their weights [..., K] for x [..., D]."""
        bias: Any = self.get("e_score_correction_bias")
        pictures = step.pictures if isinstance(step, Step) else None
        if self.config.pictures and pictures is not None:
            bias = mx.where(pictures[..., None], self.e_score_correction_bias_vl, bias)
        return choose_experts(self.config, self.logits(x), bias, x.dtype)

    def logits(self, x: mx.array) -> mx.array:
        """Scores [..., E] of x [..., D] before any nonlinearity."""
        # Float32 as the reference: near-ties decide which experts run.
        return x.astype(mx.float32) @ self.weight.astype(mx.float32).T


class HashRouter(Router):
    """Looks a token's experts up by its number (DeepSeek-V4 §2.1); x says how much each counts."""

    def __init__(self, config: RouterConfig):
        super().__init__(config)
        self.tid2eid = mx.zeros((config.table or 0, config.per_token), mx.int32)

    def __call__(self, x: mx.array, step: Step | Mask = None) -> tuple[mx.array, mx.array]:
        """As `Router`; pictures have no number, so they are routed by their bias."""
        assert isinstance(step, Step), "routing by token needs the tokens"
        assert step.ids is not None, "routing by token needs the tokens"
        logits = self.logits(x)
        chosen = self.tid2eid[mx.maximum(step.ids, 0)]  # [B, L, K]
        if self.config.pictures and step.pictures is not None:
            ranked, _ = choose_experts(self.config, logits, self.e_score_correction_bias_vl)
            chosen = mx.where(step.pictures[..., None], ranked, chosen)
        scores = SCORES[self.config.scoring](logits)
        return chosen, weigh(self.config, scores, chosen).astype(x.dtype)


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
def _compiled(config: RouterConfig, dtype: mx.Dtype) -> Callable[..., tuple[mx.array, mx.array]]:
    """One compiled selection per configuration, so that its small kernels fuse."""
    return mx.compile(partial(_choose, config, dtype))


class MoE(nn.Module):
    """Shared experts see every token; routed ones those that chose them. None is dropped."""

    def __init__(self, config: MoEConfig):
        super().__init__()
        hidden = config.router.hidden
        router = Router if config.router.table is None else HashRouter
        self.gate = router(config.router)
        self.switch_mlp = Experts(hidden, config.width, config.router.experts, config.limit)
        if config.shared_width:
            self.shared_experts = MLP(hidden, config.shared_width, config.limit)

    def __call__(self, x: mx.array, step: Step | Mask = None) -> mx.array:
        """Transform x [..., D] of the tokens of `step`."""
        chosen, weights = self.gate(x, step)
        y = self.switch_mlp(x, chosen)  # [..., K, D]
        weights = weights[..., None, :]  # in x's precision, as DeepSeek's inference code
        if "shared_experts" not in self:
            return (weights @ y).squeeze(-2)
        return mx.addmm(self.shared_experts(x)[..., None, :], weights, y).squeeze(-2)
