"""nano's modules as they are trained: the same parameters and numbers, in a form fast on a CPU.

Experts are evaluated densely, every expert on every token, masked by the router's weights: at this
size three large matrix products take less time than gathering and scattering tokens, forwards and
above all backwards. Exponentials come from fast_math.
"""

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.latent_kv import AnyLatentKV
from mlx_deepseek.layers.masks import Mask, visible
from mlx_deepseek.layers.mla import SplitLatentAttention
from mlx_deepseek.layers.mlp import MLP
from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.config import read_decoder
from mlx_deepseek.nano.training.fast_math import softmax, swiglu


class DenseMoE(nn.Module):
    """A MoE's own parameters under their own names; `last_load` tells how its experts were used."""

    def __init__(self, moe: MoE):
        super().__init__()
        self.gate = moe.gate
        self.switch_mlp = moe.switch_mlp
        self.shared_experts = FastMLP(moe.shared_experts)
        self._load = mx.zeros((moe.gate.config.experts,))

    @property
    def last_load(self) -> mx.array:
        """Tokens that chose each expert [E] in the last call."""
        return self._load

    def __call__(self, x: mx.array, step: object = None) -> mx.array:
        """Transform x [..., D]."""
        chosen, weights = self.gate(x)
        experts = self.gate.config.experts
        picked = chosen[..., None] == mx.arange(experts)  # [..., K, E]
        self._load = picked.reshape(-1, experts).astype(mx.float32).sum(axis=0)
        per_expert = (picked * weights[..., None]).sum(axis=-2)  # [..., E]
        rows = x.reshape(-1, x.shape[-1])
        inner = swiglu(rows @ self.stacked("gate_proj").T, rows @ self.stacked("up_proj").T)
        inner = inner.reshape(len(rows), experts, -1) * per_expert.reshape(-1, experts, 1)
        down = self.switch_mlp.down_proj.weight.swapaxes(-1, -2).reshape(-1, x.shape[-1])
        routed = inner.reshape(len(rows), -1) @ down  # [..., E * F] @ [E * F, D]
        return routed.reshape(x.shape) + self.shared_experts(x)

    def stacked(self, projection: str) -> mx.array:
        """All experts' rows of one input projection, [E * F, D]."""
        weight = self.switch_mlp[projection].weight
        return weight.reshape(-1, weight.shape[-1])


class FastMLP(nn.Module):
    """An MLP's own parameters under their own names."""

    def __init__(self, mlp: MLP):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj

    def __call__(self, x: mx.array, step: object = None) -> mx.array:
        """Transform x [..., D]."""
        return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))


class FastAttention(SplitLatentAttention):
    """MLA with softmax from fast_math."""

    def prefill(self, q_nope, q_rope, rows: AnyLatentKV, mask: Mask) -> mx.array:
        """Attention over per-head keys and values rebuilt from rows; [B, H, L, V]."""
        latent, key = mx.split(rows.dense(q_nope.dtype), [self.config.kv_rank], axis=-1)
        k_nope, values = self.expand(latent, slice(0, self.config.heads))
        key = mx.broadcast_to(key, (*k_nope.shape[:-1], key.shape[-1]))
        q = mx.concatenate([q_nope, q_rope], axis=-1) * self.scale
        scores = q @ mx.concatenate([k_nope, key], axis=-1).swapaxes(-1, -2)
        new, length = scores.shape[-2:]
        shown = visible(mask, slice(0, new), slice(0, length), new, length)
        if shown is not None:
            scores = scores + mx.where(shown, 0.0, -1e9)
        return softmax(scores) @ values


def build_for_training(config: Json) -> tuple[CausalLM, list[DenseMoE]]:
    """A deepseek_v3 model with fast modules, and its MoE layers in order, MTP's last."""
    decoder = read_decoder(config, "mla", scorings=("sigmoid",), methods=("noaux_tc",))
    model = CausalLM(decoder, FastAttention)
    replaced = []
    for layer in [*model.layers, *model.get("mtp", [])]:
        if isinstance(layer.mlp, MoE):
            layer.mlp = DenseMoE(layer.mlp)
            replaced.append(layer.mlp)
        else:
            layer.mlp = FastMLP(layer.mlp)
    return model, replaced
