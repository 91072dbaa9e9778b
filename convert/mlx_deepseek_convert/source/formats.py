"""Quantized formats, and shapes of tensors."""

from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


# NVFP4 stores a scale per group as an 8-bit float, relative to one per matrix of experts: largest
# weight / (largest group scale * largest value).
TENSOR_SCALE = "global_scale"
NVFP4_RANGE = 448.0 * 6.0

# Every mode but affine has exactly one group size and number of bits.
FIXED = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}


@dataclass(frozen=True)
class Setting:
    """How one module's weight is stored: `bits` per value, groups along the last axis."""

    bits: int
    group_size: int = 64
    mode: str = "affine"

    def as_config(self) -> dict[str, Any]:
        """As mlx-lm reads it from config.json."""
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    def has_tensor_scale(self, shape: Shape) -> bool:
        """Whether each matrix of a stack has a scale of its own, in float32."""
        return self.mode == "nvfp4" and len(shape) == 3

    @property
    def overhead_bits(self) -> int:
        """Bits of scale (and affine's bias, both 16 bits wide) per group."""
        return 32 if self.mode == "affine" else 8
