"""One machine's part of a model that is built and filled, but not yet read: the rest is let go."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.nn.layers.distributed import shard_inplace
from mlx_lm.models.cache import KVCache

from mlx_deepseek.distributed.followers import Computed, Elsewhere, ModelFollowers
from mlx_deepseek.distributed.plan import Plan
from mlx_deepseek.distributed.states import tapped
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.compressed_attention import CompressedAttention
from mlx_deepseek.layers.mha import MultiHeadAttention
from mlx_deepseek.layers.mla import LatentAttention
from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.models.decoder import DecoderLayer

OUT, IN = "all-to-sharded", "sharded-to-all"  # MLX's words for parts of the rows, of the columns
LATENT_HEADS = ("q_proj", "q_b_proj", "kv_b_proj")
PLAIN_HEADS = ("q_proj", "k_proj", "v_proj")


class SumOfShares(MoE):
    """Experts of which each machine has a part of the width; the router is alike on all."""

    def __init__(self, moe: MoE, group: mx.distributed.Group):
        nn.Module.__init__(self)
        self.gate, self.switch_mlp = moe.gate, moe.switch_mlp
        if "shared_experts" in moe:
            self.shared_experts = moe.shared_experts
        self.group = group

    def __call__(self, x: mx.array, step: Any = None) -> mx.array:
        """As the whole."""
        return mx.distributed.all_sum(super().__call__(x, step), group=self.group)


class FollowersLayers(nn.Module):
    """The layers that a rank other than 0 computes; it hands on `taps` of those before them."""

    def __init__(self, layers: Sequence[Any], taps: int = 0):
        super().__init__()
        self.layers = list(layers)
        self.taps = taps

    def make_cache(self) -> list[Any]:
        """An empty cache per layer."""
        return [new_cache(layer) for layer in self.layers]


def require_divisible(model: Any) -> None:
    """Raise ConfigError unless several machines can hold a model's layers."""
    if any(getattr(layer, "use_sliding", False) for layer in model.layers):
        raise ConfigError(
            "A model with sliding attention cannot be split over several machines. Expected any "
            "DeepSeek, or a dense model without; leave --hosts out."
        )


def compressed(layers: Sequence[Any]) -> bool:
    """Whether layers attend to compressed entries."""
    return any(isinstance(layer.self_attn, CompressedAttention) for layer in layers)


def stands_apart(layers: Sequence[Any]) -> bool:
    """Whether layers read nothing that earlier ones leave beside the state.

    V4.1's read entries of an earlier layer, and choose among candidates of an earlier layer.
    """
    made = chosen = False
    for layer in layers:
        attention = layer.self_attn
        if not isinstance(attention, CompressedAttention):
            continue
        config = attention.config
        made = made or config.compressor is not None
        candidates = config.indexer and config.indexer.candidates
        chosen = chosen or (candidates is not None and candidates.chosen_here)
        if (config.ratio and not made) or (candidates is not None and not chosen):
            return False
    return True


def holder_of(model: Any) -> tuple[str, Any]:
    """The module that has a model's layers, and its path."""
    first = model.layers[0]
    return next(
        (path, module)
        for path, module in model.named_modules()
        if any(one is first for one in module.get("layers", ()))
    )


def leading_part(model: Any, plan: Plan, followers: ModelFollowers) -> nn.Module:
    """Rank 0's: all but the others' layers."""
    require_divisible(model)
    layers, part = model.layers, plan.parts[0]
    followers.forgets = compressed(layers)
    if plan.mode == "tensor":
        divide(layers, followers.group.link.group)
        own = [Elsewhere(followers, returns=False), *layers[:-1], Computed(layers[-1])]
    else:
        elsewhere = Elsewhere(followers, returns=True, taps=tapped(layers[part.last :]))
        own = [*layers[part.first : part.last], elsewhere]
    holder_of(model)[1].layers = own
    text: Any = getattr(model, "language", model)
    text.make_cache = lambda: [new_cache(layer) for layer in own]
    return model


def following_part(model: Any, plan: Plan, group: mx.distributed.Group) -> nn.Module:
    """Another rank's: some layers, or a share of all."""
    require_divisible(model)
    part = plan.parts[group.rank()]
    own = model.layers[part.first : part.last]
    if plan.mode == "tensor":
        divide(own, group)
        return FollowersLayers(own)
    return FollowersLayers(own, tapped(model.layers[plan.parts[0].last : part.first]))


def new_cache(layer: Any) -> Any:
    """An empty cache of a layer; mlx-lm's make none themselves."""
    inner = layer.layer if isinstance(layer, Computed) else layer
    return inner.make_cache() if isinstance(inner, (DecoderLayer, Elsewhere)) else KVCache()


def divide(layers: Sequence[Any], group: mx.distributed.Group) -> None:
    """Leave of each layer one machine's heads, and its part of the width of MLPs and experts.

    Raises:
        ConfigError: heads or widths do not divide by the number of machines.
    """
    try:
        for layer in layers:
            divide_heads(layer, group)
            if isinstance(layer.mlp, MoE):
                divide_width(layer.mlp.switch_mlp, group)
                if "shared_experts" in layer.mlp:
                    divide_width(layer.mlp.shared_experts, group)
                layer.mlp = SumOfShares(layer.mlp, group)
            else:
                divide_width(layer.mlp, group)
                layer.mlp.down_proj = Summed(layer.mlp.down_proj, group)
    except ValueError as error:
        raise ConfigError(
            f"The model cannot be divided among {group.size()} machines: heads or widths do not "
            f"divide evenly ({error}). Split it by layers (pipeline), or use fewer machines."
        ) from error


class Summed(nn.Module):
    """A layer that each machine has some columns of; its output is the sum of all of theirs."""

    def __init__(self, layer: Any, group: mx.distributed.Group):
        super().__init__()
        self.layer, self.group = layer, group
        if "bias" in layer and group.rank():
            layer.bias = mx.zeros_like(layer.bias)  # it is added once

    def __call__(self, x: mx.array) -> mx.array:
        """The whole output."""
        return mx.distributed.all_sum(self.layer(x), group=self.group)


def divide_heads(layer: Any, group: mx.distributed.Group) -> None:
    """Leave the heads of this machine; what they share (latents, entries, an indexer) stays."""
    size, attention, last = group.size(), layer.self_attn, "o_proj"
    if isinstance(attention, CompressedAttention):
        c = attention.config
        groups = _share(c.output_groups, size, "groups of heads")
        attention.config = replace(c, heads=c.heads // size, output_groups=groups)
        attention.sinks = mx.split(attention.sinks, size)[group.rank()]
        shard_inplace(attention.o_a_proj, lambda path, array: 0, group=group)
        names, last = ("q_b_proj",), "o_b_proj"
    elif isinstance(attention, LatentAttention):
        attention.config = replace(attention.config, heads=_share(attention.config.heads, size))
        names = LATENT_HEADS
        for name in ("embed_q", "unembed_out"):
            if name in attention:
                shard_inplace(attention[name], lambda path, array: 0, group=group)
    elif isinstance(attention, MultiHeadAttention):
        c = attention.config
        heads, groups = _share(c.heads, size), _share(c.kv_heads, size)
        attention.config = replace(c, heads=heads, kv_heads=groups)
        names = PLAIN_HEADS
    else:
        attention.n_heads = _share(attention.n_heads, size)
        attention.n_kv_heads = _share(attention.n_kv_heads, size)
        names = PLAIN_HEADS
    for name in names:
        if name in attention:
            shard_inplace(attention[name], OUT, group=group)
    shard_inplace(attention[last], IN, group=group)
    attention[last] = Summed(attention[last], group)


def divide_width(mlp: Any, group: mx.distributed.Group) -> None:
    """Leave a part of the inner width of an MLP, or of each expert; outputs are to be summed."""
    for name, axis in (("gate_proj", -2), ("up_proj", -2), ("down_proj", -1)):

        def part(path: str, array: mx.array, axis: int = axis) -> int | None:
            if path.endswith("global_scale") or (path.endswith("bias") and axis == -1):
                return None
            return max(axis, -array.ndim)

        shard_inplace(mlp[name], part, group=group)


def _share(count: int, size: int, what: str = "heads") -> int:
    if count % size:
        raise ValueError(f"{count} {what}")
    return count // size
