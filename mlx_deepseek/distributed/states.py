"""What goes from one machine's layers to the next one's: the state, and what a drafter reads of it.

A state is one array [B, L, ...], or several (V4.1's copies, and weights to read them by).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx

from mlx_deepseek.models import language_config
from mlx_deepseek.runtime.device import compute_item_bytes

Described = tuple[Sequence[int], str]  # shape and data type


def arrays_of(state: Any) -> list[mx.array]:
    """The arrays of a state."""
    return list(state) if isinstance(state, tuple) else [state]


def state_of(arrays: Sequence[mx.array]) -> Any:
    """The state of such arrays."""
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def described(array: mx.array | None) -> Described | None:
    """What the other side must know to receive an array."""
    return None if array is None else (array.shape, str(array.dtype).removeprefix("mlx.core."))


def kind(told: Described) -> tuple[list[int], mx.Dtype]:
    """Shape and data type of what was described."""
    return list(told[0]), getattr(mx, told[1])


def tap_of(state: Any) -> tuple[list[int], mx.Dtype]:
    """Shape and data type of what a layer leaves for a drafter: copies [B, L, M, D] as one."""
    copies = arrays_of(state)[0]
    return [*copies.shape[:2], copies.shape[-1]], copies.dtype


def token_bytes(config: Mapping[str, Any]) -> int:
    """Bytes of one token's state in a model of this config."""
    text = language_config(config)
    return text["hidden_size"] * text.get("hc_mult", 1) * compute_item_bytes()


def tapped(layers: Sequence[Any]) -> int:
    """How many layers leave something for a drafter."""
    return sum(getattr(layer, "tapped", None) is not None for layer in layers)
