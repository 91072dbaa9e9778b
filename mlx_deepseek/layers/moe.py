"""DeepSeekMoE: routed and shared experts (arXiv:2401.06066, 2412.19437 §2.1.2)."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.experts import Experts
from mlx_deepseek.layers.masks import Mask
from mlx_deepseek.layers.mlp import MLP
from mlx_deepseek.layers.router import HashRouter, Router
from mlx_deepseek.layers.routing import RouterConfig
from mlx_deepseek.layers.step import Step


@dataclass(frozen=True)
class MoEConfig:
    """Fine-grained routed experts beside shared ones (arXiv:2401.06066 §3); `limit` bounds them."""

    router: RouterConfig
    width: int
    shared_width: int
    limit: float | None = None


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
