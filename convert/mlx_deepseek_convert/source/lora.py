"""LoRA adapters of mlx-lm and PEFT, added to the weights while they are converted."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_deepseek.checkpoint.files import read_json
from mlx_deepseek.checkpoint.safetensors_header import TensorInfo, read_header
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek_convert.source.formats import Shape
from mlx_deepseek_convert.source.tensors import READABLE, Tensor, as_array, read_bytes

CONFIG = "adapter_config.json"
MLX_FILE, PEFT_FILE = "adapters.safetensors", "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True)
class LowRank:
    """A change of a weight [.., out, in]: `scale` up @ down, [.., out, r] and [.., r, in]."""

    down: mx.array
    up: mx.array
    scale: float

    @property
    def shape(self) -> Shape:
        """Of the weight that it changes."""
        return (*self.up.shape[:-1], self.down.shape[-1])

    def rows(self, start: int, stop: int) -> "LowRank":
        """Of some of the weight's rows (or experts)."""
        down = self.down[start:stop] if self.down.ndim == 3 else self.down
        return LowRank(down, self.up[start:stop], self.scale)

    def expert(self, number: int) -> "LowRank":
        """Of one of a stack's experts."""
        return LowRank(self.down[number], self.up[number], self.scale)

    def values(self) -> mx.array:
        """The change, in float32."""
        return self.scale * (self.up @ self.down)


@dataclass(frozen=True, kw_only=True)
class Merged(Tensor):
    """A tensor with a change added."""

    base: Tensor
    change: LowRank

    @property
    def shape(self) -> Shape:
        """Of the values."""
        return self.base.shape

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """What is stored of the tensor; the change is in memory."""
        return self.base.parts

    @property
    def unit(self) -> int:
        """Rows that must stay together."""
        return self.base.unit

    def rows(self, start: int, stop: int) -> "Merged":
        """Some rows of the tensor."""
        base, change = self.base.rows(start, stop), self.change.rows(start, stop)
        return replace(self, info=base.info, base=base, change=change)

    def item(self, index: int) -> "Merged":
        """One expert."""
        base, change = self.base.item(index), self.change.expert(index)
        return replace(self, info=base.info, base=base, change=change)

    def decode(self, stored: Sequence[mx.array]) -> mx.array:
        """The sum, in float32."""
        return self.base.decode(stored).astype(mx.float32) + self.change.values()


@dataclass(frozen=True)
class Adapter:
    """The changes of an adapter by the names of weights, and a digest of its files."""

    path: Path
    changes: Mapping[str, LowRank]
    digest: str


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder, mlx-lm's or PEFT's.

    Raises:
        CheckpointError: it is damaged.
        ConfigError: a kind of adapter other than plain LoRA.
    """
    config = read_json(folder / CONFIG)
    of_peft = (folder / PEFT_FILE).is_file()
    path = folder / (PEFT_FILE if of_peft else MLX_FILE)
    halves = {
        name: as_array(info, read_bytes(info)).astype(mx.float32)
        for name, info in read_header(path)[0].items()
        if _readable(info)
    }
    mx.eval(halves)
    read = _read_peft if of_peft else _read_mlx
    content = path.read_bytes() + (folder / CONFIG).read_bytes()
    return Adapter(path, read(halves, config, folder), hashlib.sha256(content).hexdigest())


def _readable(info: TensorInfo) -> bool:
    if info.dtype not in READABLE:
        raise CheckpointError(
            f"{info.file}: tensor {info.name!r} is {info.dtype}. Expected one of "
            f"{', '.join(READABLE)}."
        )
    return True


def _read_mlx(
    halves: Mapping[str, mx.array], config: Mapping[str, Any], folder: Path
) -> dict[str, LowRank]:
    """lora_a [in, r] and lora_b [r, out]; of experts [E, r, in] (or [E r, in]) and [E, out, r].

    Of an embedding, [V, r] and [r, D]: there it is the other way round.
    """
    parameters = config.get("lora_parameters")
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    if config.get("fine_tune_type", "lora") != "lora" or not isinstance(scale, int | float):
        raise ConfigError(f"{folder / CONFIG}: no plain LoRA of mlx-lm. Expected one with a scale.")
    changes = {}
    for path, a, b in _pairs(halves, ".lora_a", ".lora_b", folder):
        if b.ndim == 3:
            changes[f"{path}.weight"] = LowRank(a.reshape(len(b), -1, a.shape[-1]), b, scale)
        elif path.endswith("embed_tokens"):
            changes[f"{path}.weight"] = LowRank(b, a, scale)
        else:
            changes[f"{path}.weight"] = LowRank(a.T, b.T, scale)
    return changes


def _read_peft(
    halves: Mapping[str, mx.array], config: Mapping[str, Any], folder: Path
) -> dict[str, LowRank]:
    """lora_A.weight [r, in] and lora_B.weight [out, r]."""
    rank, alpha = config.get("r", 0), config.get("lora_alpha", 0)
    unusual = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")
    odd = [key for key in unusual if config.get(key)]
    plain = type(rank) is int and rank > 0 and isinstance(alpha, int | float) and not odd
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or not plain:
        raise ConfigError(
            f"{folder / CONFIG}: no plain LoRA of PEFT{f' ({odd[0]})' if odd else ''}. Expected r "
            "and lora_alpha, without biases; merge it with PEFT instead."
        )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return {
        f"{path.removeprefix(PEFT_PREFIX)}.weight": LowRank(a, b, scale)
        for path, a, b in _pairs(halves, ".lora_A.weight", ".lora_B.weight", folder)
    }


def _pairs(
    halves: Mapping[str, mx.array], first: str, second: str, folder: Path
) -> list[tuple[str, mx.array, mx.array]]:
    """Path, first and second half of every change; all tensors must be halves."""
    paths = {name.removesuffix(first) for name in halves if name.endswith(first)}
    whole = {path + end for path in paths for end in (first, second)}
    if whole != halves.keys() or not paths:
        odd = min(whole ^ halves.keys(), default="none at all")
        raise CheckpointError(
            f"{folder}: tensor {odd!r} is no half of a LoRA's pair. Expected *{first} and "
            f"*{second}."
        )
    pairs = [(path, halves[path + first], halves[path + second]) for path in sorted(paths)]
    for path, a, b in pairs:
        experts = b.ndim == 3 and a.size % (len(b) * a.shape[-1]) == 0 and a.ndim in (2, 3)
        if not experts and (a.ndim, b.ndim) != (2, 2):
            raise CheckpointError(
                f"{folder}: {path!r} has halves {list(a.shape)} and {list(b.shape)}. Expected "
                "matrices."
            )
    return pairs
