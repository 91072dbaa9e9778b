"""The router of a layer: which experts a token goes to, in float32."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.masks import Mask
from mlx_deepseek.layers.router_kernel import kernel
from mlx_deepseek.layers.routing import SCORES, RouterConfig, by_operations, weigh
from mlx_deepseek.layers.step import Step
from mlx_deepseek.runtime.device import on_gpu


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
        return choose_experts(self.config, self.logits(x), bias, x.dtype, training=self.training)

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
    config: RouterConfig,
    logits: mx.array,
    bias: mx.array | None,
    dtype: mx.Dtype = mx.float32,
    *,
    training: bool = False,
) -> tuple[mx.array, mx.array]:
    """Pick experts by score (plus `bias`), weigh them by score without it (2412.19437 eq. 16).

    The weights come in `dtype`. `training`: they are to have gradients, which the kernel has not.

    Group-limited methods keep the groups with the best score: the sum of the two best experts for
    noaux_tc, the best one for group_limited_greedy (arXiv:2405.04434 §2.2.2). Experts of other
    groups get -inf; zero, as the first remote code had it, wins over negative biased scores.
    """
    if training or not on_gpu() or (fused := kernel(config, bias is not None, dtype)) is None:
        return by_operations(config, dtype)(logits, bias)
    return fused(logits, bias)
