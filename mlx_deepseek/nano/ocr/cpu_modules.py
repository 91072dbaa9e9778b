"""nano-ocr as it is trained: the same parameters, with exponentials that are fast on a CPU."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek import models
from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.nano.training.cpu_modules import DenseMoE, FastMLP
from mlx_deepseek.nano.training.fast_math import sigmoid, softmax
from mlx_deepseek.vision.encoders.sam import RelativeAttention, between


def gelu(x: mx.array) -> mx.array:
    """GELU within 1e-3 of the exact function, which training does not notice."""
    return x * sigmoid(1.5957691216 * (x + 0.044715 * x * x * x))


def quick_gelu(x: mx.array) -> mx.array:
    """CLIP's own."""
    return x * sigmoid(1.702 * x)


class FastRelativeAttention(RelativeAttention):
    """SAM's attention with softmax from fast_math."""

    def __call__(self, x: mx.array) -> mx.array:
        """Attend within x [B, h, w, C]."""
        _, h, w, _ = x.shape
        q, k, v = self.split(x.flatten(1, 2))
        grid = mx.unflatten(q, 2, (h, w))
        by_row = mx.einsum("bnhwd,hkd->bnhwk", grid, between(self.rel_pos_h, h))
        by_column = mx.einsum("bnhwd,wkd->bnhwk", grid, between(self.rel_pos_w, w))
        bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(2, 3).flatten(3)
        scores = (q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2) + bias
        return mx.unflatten(self.merge(softmax(scores) @ v), 1, (h, w))


class FastConvolution(nn.Conv2d):
    """A convolution of 3 x 3 as one product: MLX's own is slow backwards on a CPU."""

    def __call__(self, x: mx.array) -> mx.array:
        """[B, h, w, I] to [B, h', w', O]."""
        stride = self.stride[0]
        high, wide = ((size - 1) // stride + 1 for size in x.shape[1:3])
        x = mx.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        shifted = [
            x[:, i : i + stride * (high - 1) + 1 : stride, j : j + stride * (wide - 1) + 1 : stride]
            for i in range(3)
            for j in range(3)
        ]
        return mx.concatenate(shifted, axis=-1) @ self.weight.flatten(1).T


def fast_convolution(convolution: nn.Conv2d) -> FastConvolution:
    """The same parameters."""
    outer, _, _, inner = convolution.weight.shape
    fast = FastConvolution(inner, outer, 3, stride=convolution.stride, padding=1, bias=False)
    fast.weight = convolution.weight
    return fast


class Pointwise(nn.Conv2d):
    """A convolution of 1 x 1 as a product."""

    def __call__(self, x: mx.array) -> mx.array:
        """[B, h, w, I] to [B, h, w, O]."""
        return x @ self.weight.flatten(1).T


def pointwise(convolution: nn.Conv2d) -> Pointwise:
    """The same parameters."""
    outer, _, _, inner = convolution.weight.shape
    fast = Pointwise(inner, outer, 1, bias=False)
    fast.weight = convolution.weight
    return fast


def build_for_training(config: Json) -> tuple[Any, list[DenseMoE]]:
    """The model with fast modules, and its MoE layers in order."""
    model: Any = models.build(config)
    moes = []
    for layer in model.layers:
        if isinstance(layer.mlp, MoE):
            layer.mlp = DenseMoE(layer.mlp)
            moes.append(layer.mlp)
        else:
            layer.mlp = FastMLP(layer.mlp)
    sam = model.vision.sam
    sam.neck[0] = pointwise(sam.neck[0])
    sam.neck[2] = fast_convolution(sam.neck[2])
    sam.downsamples = [fast_convolution(layer) for layer in sam.downsamples]
    for block in sam.blocks:
        block.attn = _as_fast(block.attn)
        block.mlp.activation = gelu
    for block in model.vision.clip.blocks:
        block.mlp.activation = quick_gelu
    return model, moes


def _as_fast(attention: RelativeAttention) -> FastRelativeAttention:
    width = attention.proj.weight.shape[0]
    fast = FastRelativeAttention(width, attention.heads, 1)
    fast.qkv, fast.proj = attention.qkv, attention.proj
    fast.rel_pos_h, fast.rel_pos_w = attention.rel_pos_h, attention.rel_pos_w
    return fast
