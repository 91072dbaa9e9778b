"""Groups of tokens as one entry: a gated mean, channel by channel (DeepSeek-V4 §2.3.1, §2.3.2)."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn


@dataclass(frozen=True)
class CompressorConfig:
    """`ratio` tokens of width `hidden` become an entry of width `dim`.

    `overlap`: each entry is also made of the group before it, by a second half of the projections.
    `biased`: a gate depends on the place in the group. A `ratio` of 1 needs no gates.
    """

    hidden: int
    dim: int
    ratio: int
    eps: float
    overlap: bool = False
    biased: bool = True


class Compressor(nn.Module):
    """Projects tokens to raw rows, and pools groups of raw rows."""

    def __init__(self, config: CompressorConfig):
        super().__init__()
        self.config = config
        width = config.dim * (1 + config.overlap)
        self.kv_proj = nn.Linear(config.hidden, width, bias=False)
        if config.ratio > 1:
            self.gate_proj = nn.Linear(config.hidden, width, bias=False)
        if config.biased:
            self.position_bias = mx.zeros((config.ratio, width))
        self.kv_norm = nn.RMSNorm(config.dim, eps=config.eps)

    @property
    def raw_width(self) -> int:
        """Numbers per token that a group is made of: values, then gates."""
        return self.config.dim * (1 + self.config.overlap) * (2 if self.config.ratio > 1 else 1)

    def raw(self, x: mx.array, offset: int | mx.array) -> mx.array:
        """Raw rows [B, L, raw_width] of x [B, L, D], the first of which is token `offset`."""
        if self.config.ratio == 1:
            return self.kv_proj(x)
        gate = self.gate_proj(x)
        if self.config.biased:
            start = offset if isinstance(offset, int) else offset[:, None]
            places = (start + mx.arange(x.shape[1])) % self.config.ratio
            gate = (gate + self.position_bias[places]).astype(gate.dtype)
        return mx.concatenate([self.kv_proj(x), gate], axis=-1)

    def pool(self, raw: mx.array, missing: int) -> mx.array:
        """Entries [B, n, dim] of raw rows [B, L, raw_width]; rows of an open group are ignored.

        With `overlap` the first group only lends to the second; if it is `missing`, because the
        second is the very first one, nothing is lent. Float32 in between, as the reference.
        """
        c = self.config
        groups = raw.shape[1] // c.ratio
        rows = mx.unflatten(raw[:, : groups * c.ratio], 1, (groups, c.ratio))  # [B, n, r, W]
        if c.ratio == 1:
            return self.kv_norm(rows.squeeze(2))
        values, gates = mx.split(rows.astype(mx.float32), 2, axis=-1)  # [B, n, r, W / 2]
        if c.overlap:
            values = overlapped(values, missing, 0.0)
            gates = overlapped(gates, missing, -mx.inf)
        entries = (values * mx.softmax(gates, axis=2)).sum(2)  # [B, n, dim]
        return self.kv_norm(entries.astype(raw.dtype))


def overlapped(rows: mx.array, missing: int, filler: float) -> mx.array:
    """Each group's second half after its predecessor's first [B, n - 1, 2 r, W] of [B, n, r, 2 W].

    `missing` groups of `filler` come before.
    """
    before, own = mx.split(rows, 2, axis=-1)  # [B, n, r, W]
    if missing:
        before = mx.pad(before, [(0, 0), (missing, 0), (0, 0), (0, 0)], constant_values=filler)
    else:
        own = own[:, 1:]
    return mx.concatenate([before[:, : own.shape[1]], own], axis=2)
