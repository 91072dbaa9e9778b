"""Rotary position embedding (arXiv:2104.09864), linear scaling, YaRN (arXiv:2309.00071)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_deepseek.errors import ConfigError

Json = Mapping[str, Any]


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding (arXiv:2104.09864) with an optional context extension.

    `dims` channels turn; `leading` ones before them, an even number, do not.
    """

    dims: int
    theta: float = 10_000.0
    interleaved: bool = True
    scaling: Json | None = None
    leading: int = 0


class Rope(nn.Module):
    """Rotates P channels of [..., L, C] by each token's position, after `config.leading` others."""

    def __init__(self, config: RopeConfig):
        super().__init__()
        self.dims = config.leading + config.dims
        self.interleaved = config.interleaved
        self.magnitude = magnitude(config.scaling)
        # Underscored: a constant of the config, not a parameter of the checkpoint.
        wavelengths = 1.0 / inverse_frequencies(config)
        # Pairs of infinite wavelength are left as they are.
        still = np.full(config.leading // 2, np.inf)
        self._wavelengths = mx.array(np.concatenate([still, wavelengths]), dtype=mx.float32)
        self._backwards = -self._wavelengths

    def __call__(
        self, x: mx.array, offset: int | mx.array = 0, *, scale: float = 1.0, inverse: bool = False
    ) -> mx.array:
        """Rotate x [B, H, L, C] from position `offset` on, a number or one per row.

        `scale` is the distance between positions; `inverse` undoes the rotation.
        """
        if self.magnitude != 1.0:
            rotated, rest = mx.split(x, [self.dims], axis=-1)
            x = mx.concatenate([rotated * self.magnitude, rest], axis=-1)
        return mx.fast.rope(
            x,
            self.dims,
            traditional=self.interleaved,
            base=None,
            scale=scale,
            offset=offset,
            freqs=self._backwards if inverse else self._wavelengths,
        )


def inverse_frequencies(config: RopeConfig) -> np.ndarray:
    """Radians per position of each channel pair [P / 2], float64.

    Raises:
        ConfigError: the scaling type is unknown.
    """
    exponents = np.arange(0, config.dims, 2, dtype=np.float64) / config.dims
    plain = config.theta**-exponents
    scaling = config.scaling
    match scaling_type(scaling):
        case "default":
            return plain
        case "linear":
            assert scaling is not None
            return plain / float(scaling["factor"])
        case "yarn":
            assert scaling is not None
            low, high = yarn_range(config, scaling)
            ramp = np.clip((np.arange(config.dims // 2) - low) / (high - low), 0.0, 1.0)
            return plain * (1.0 - ramp) + plain / float(scaling["factor"]) * ramp
        case other:
            raise ConfigError(
                f"rope_scaling type {other!r} is unknown; expected default, linear or yarn."
            )


def yarn_range(config: RopeConfig, scaling: Json) -> tuple[float, float]:
    """The channel pairs between which YaRN passes from extrapolation to interpolation."""

    def pair_turning(turns: float) -> float:
        wavelength = scaling.get("original_max_position_embeddings", 4096) / turns
        return config.dims * math.log(wavelength / (2 * math.pi)) / (2 * math.log(config.theta))

    low = max(math.floor(pair_turning(scaling.get("beta_fast", 32))), 0)
    high = min(math.ceil(pair_turning(scaling.get("beta_slow", 1))), config.dims - 1)
    return low, high if high != low else high + 0.001


def scaling_type(scaling: Json | None) -> str:
    """The kind of context extension; released files say `type`, newer ones `rope_type`."""
    return (scaling or {}).get("type") or (scaling or {}).get("rope_type") or "default"


def mscale(factor: float, weight: float) -> float:
    """YaRN's attention temperature 0.1 * weight * ln(factor) + 1 (arXiv:2309.00071 eq. 22)."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def magnitude(scaling: Json | None) -> float:
    """What YaRN multiplies rotated vectors by: mscale over mscale_all_dim."""
    if scaling is None or scaling_type(scaling) != "yarn":
        return 1.0
    factor = float(scaling["factor"])
    undone = mscale(factor, scaling.get("mscale_all_dim", 0))
    return mscale(factor, scaling.get("mscale", 1)) / undone


def softmax_scale(dims: int, scaling: Json | None) -> float:
    """1 / sqrt(dims), times mscale(mscale_all_dim)² under YaRN, as DeepSeek-V2 and later do."""
    scale = dims**-0.5
    if scaling is None or scaling_type(scaling) != "yarn":
        return scale
    return scale * mscale(float(scaling["factor"]), scaling.get("mscale_all_dim", 0)) ** 2
