"""From an encoder's features to the language model's width: two layers with GELU between."""

import mlx.core as mx
import mlx.nn as nn


class MLPProjector(nn.Module):
    """`depth` layers from `inner` to `outer`, with exact GELU between them."""

    def __init__(self, inner: int, outer: int, depth: int):
        super().__init__()
        self.layers: list[nn.Module] = [nn.Linear(inner, outer)]
        for _ in range(1, depth):
            self.layers += [nn.GELU(), nn.Linear(outer, outer)]

    def __call__(self, x: mx.array) -> mx.array:
        """[..., inner] to [..., outer]."""
        for layer in self.layers:
            x = layer(x)
        return x


class DownsamplingProjector(MLPProjector):
    """The same on squares of `ratio` x `ratio` neighbours (arXiv:2412.10302 §2.2)."""

    def __init__(self, inner: int, outer: int, depth: int, ratio: int):
        super().__init__(inner * ratio * ratio, outer, depth)
        self.ratio = ratio

    def __call__(self, x: mx.array, grid: tuple[int, int] | None = None) -> mx.array:
        """[B, h * w, C] to [B, h' * w', D], h' = ceil(h / ratio), w' alike; None: of a square."""
        B, length, C = x.shape
        h, w = grid or (round(length**0.5),) * 2
        r = self.ratio
        x = mx.pad(mx.unflatten(x, 1, (h, w)), [(0, 0), (0, -h % r), (0, -w % r), (0, 0)])
        h, w = x.shape[1] // r, x.shape[2] // r
        x = x.reshape(B, h, r, w, r, C).transpose(0, 1, 3, 5, 2, 4)  # channels first
        return super().__call__(x.reshape(B, h * w, C * r * r))


class HybridProjector(nn.Module):
    """Two encoders' features, each to half the width, then together (arXiv:2403.05525 §3.1)."""

    def __init__(self, inner: int, outer: int, depth: int):
        super().__init__()
        self.high_up_proj = nn.Linear(inner, outer // 2)
        self.low_up_proj = nn.Linear(inner, outer // 2)
        self.layers: list[nn.Module] = []
        for _ in range(1, depth):
            self.layers += [nn.GELU(), nn.Linear(outer, outer)]

    def __call__(self, features: tuple[mx.array, mx.array]) -> mx.array:
        """Twice [..., inner] to [..., outer]."""
        high, low = features
        x = mx.concatenate([self.high_up_proj(high), self.low_up_proj(low)], axis=-1)
        for layer in self.layers:
            x = layer(x)
        return x
