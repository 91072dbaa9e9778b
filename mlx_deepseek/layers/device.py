"""What the layers must know of the device that they are computed on."""

import mlx.core as mx


def on_gpu() -> bool:
    """Whether MLX computes on a GPU."""
    return mx.default_device().type == mx.DeviceType.gpu
