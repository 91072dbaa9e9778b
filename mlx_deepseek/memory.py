"""What a model costs: parameters, bytes, cache per token, and the context that fits a machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.checkpoint import compute_dtype, weight_files
from mlx_deepseek.errors import ConfigError, MemoryLimitError
from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.models import language_config
from mlx_deepseek.tensor_file import read_header

CACHE_ITEM_BYTES = 2  # bfloat16
# Left to activations, the prompt's attention scores and other programs.
RESERVED_FRACTION = 1 / 8
# What device_info calls the memory of Metal (what one program should use) and of CUDA.
DEVICE_KEYS = ("max_recommended_working_set_size", "memory_size", "total_memory")
FLOATS = {"F8_E4M3": 1, "F8_E5M2": 1, "BF16": 2, "F16": 2, "F32": 4}
# Per weight, scales included, of the mixtures of experts; more where every token passes through.
ESTIMATED_BITS = {"bf16": 16.0, "8bit": 8.5, "6bit": 6.5, "4bit": 4.8, "3bit": 3.9, "2bit": 3.2}
UNLIMITED = 1 << 60  # version 1 control groups write a huge number for "no limit"


@dataclass(frozen=True)
class Sizes:
    """A model in numbers; MTP layers, which decoding does not use, are only in `mtp`.

    `total`, `active` (per token) and `mtp` count parameters. `stored_bytes` is the main model with
    scales; `read_bytes` is what decoding one token reads of it: K of E experts, one embedding row.
    """

    total: int
    active: int
    mtp: int
    stored_bytes: int
    read_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per parameter, scales included."""
        return 8 * self.stored_bytes / self.total


@dataclass(frozen=True)
class Fit:
    """Whether a model fits; all in bytes but `context`, the longest in tokens (0: none)."""

    context: int
    weights_bytes: int
    cache_bytes: int  # at `context`
    usable_bytes: int

    @property
    def fits(self) -> bool:
        """Whether at least one token fits."""
        return self.context > 0


def count(model: nn.Module) -> Sizes:
    """Measure a model as it is built, quantized or not; nothing is evaluated."""
    shares = routed_shares(model)
    total = active = mtp = stored = read = 0.0
    for path, module in model.named_modules():
        numbers, nbytes = parameters(module)
        if path == "mtp" or path.startswith("mtp."):
            mtp += numbers
            continue
        share = next((s for prefix, s in shares.items() if path.startswith(prefix)), 1.0)
        total += numbers
        active += numbers * share
        stored += nbytes
        read += 0 if looked_up(path, model) else nbytes * share
    return Sizes(int(total), round(active), int(mtp), int(stored), round(read))


def routed_shares(model: nn.Module) -> dict[str, float]:
    """K / E of every group of routed experts, by the prefix of its modules' paths."""
    return {
        f"{path}.switch_mlp.": module.gate.config.per_token / module.gate.config.experts
        for path, module in model.named_modules()
        if isinstance(module, MoE)
    }


def parameters(module: nn.Module) -> tuple[int, int]:
    """Numbers and bytes of a module's own arrays; of a quantized one the numbers it stands for."""
    arrays = {
        name: value
        for name, value in module.items()
        if isinstance(value, mx.array) and not name.startswith("_")
    }
    nbytes = sum(value.nbytes for value in arrays.values())
    bits: int | None = getattr(module, "bits", None)
    if "scales" in arrays and bits:
        packed = arrays["weight"].size * 32 // bits
        return packed + (arrays["bias"].size if "bias" in arrays else 0), nbytes
    return sum(value.size for value in arrays.values()), nbytes


def looked_up(path: str, model: nn.Module) -> bool:
    """Whether a module is an embedding of which a token reads one row; a tied one is all read."""
    return path.endswith("embed_tokens") and "lm_head" in model


def cache_bytes_per_token(
    model: nn.Module, config: Mapping[str, Any], item_bytes: int = CACHE_ITEM_BYTES
) -> int:
    """Bytes that one more token of context takes, over all layers.

    Raises:
        ConfigError: `config` lacks the sizes of the attention.
    """
    layers: Any = model.layers
    return item_bytes * sum(cache_width(layer.self_attn, config) for layer in layers)


def cache_width(attention: Any, config: Mapping[str, Any]) -> int:
    """Numbers that an attention caches per token; mlx-lm's keeps all keys and values."""
    if hasattr(attention, "cache_width"):
        return attention.cache_width
    config = language_config(config)
    try:
        heads = config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // heads
    except KeyError as error:
        if "weight" in attention.k_proj:  # releases leave sizes out that are their class's own
            return 2 * attention.k_proj.weight.shape[0]
        raise ConfigError(
            f"config.json lacks {error}, from which the cache's size comes."
        ) from None
    return 2 * (config.get("num_key_value_heads") or heads) * head_dim


def machine_memory_bytes() -> int:
    """Memory that one program may use: the accelerator's, else the machine's or container's."""
    info = mx.device_info()
    for key in DEVICE_KEYS:
        if int(info.get(key, 0)):
            return int(info[key])
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, control_group_limit() or total)


def control_group_limit(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int | None:
    """The tightest memory limit in bytes of Linux control groups around us; None without one."""
    folders = {root, root / "memory"}
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        start = root / "memory" if "memory" in controllers.split(",") else root
        inner = start / path.lstrip("/")
        folders |= {inner, *(folder for folder in inner.parents if root in folder.parents)}
    limits = [
        limit
        for folder in folders
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _read_limit(folder / name)) is not None
    ]
    return min(limits, default=None)


def fits(weights_bytes: int, cache_per_token: int, machine_bytes: int, context: int) -> Fit:
    """The longest context, at most `context` tokens, that fits beside the weights."""
    usable = int(machine_bytes * (1 - RESERVED_FRACTION))
    longest = max(0, min(context, (usable - weights_bytes) // max(cache_per_token, 1)))
    return Fit(longest, weights_bytes, longest * cache_per_token, usable)


def estimate_bytes(parameters: int, recipe: str = "4bit") -> int:
    """Bytes of a model's weights after conversion with a recipe of ESTIMATED_BITS.

    Of the 4-bit recipe: within 6 % from 16 billion parameters on; small models, mostly embedding,
    take up to 15 % more.
    """
    return int(parameters * ESTIMATED_BITS[recipe] / 8)


def fits_beside(nbytes: int) -> bool:
    """Whether weights of `nbytes` fit beside all that MLX holds in memory now."""
    return fits(mx.get_active_memory() + nbytes, 1, machine_memory_bytes(), 1).fits


def require_room(folder: Path) -> int:
    """Bytes of a checkpoint's weights in memory, where they fit beside a page of context.

    Raises:
        MemoryLimitError: they do not; the message says by how much.
        CheckpointError: files are missing or damaged.
    """
    needed, machine = loaded_bytes(folder), machine_memory_bytes()
    usable = fits(needed, 1, machine, 1).usable_bytes
    if needed > usable:
        raise MemoryLimitError(
            f"{folder}: the weights take {needed / 1e9:.1f} GB in memory. Expected at most "
            f"{usable / 1e9:.1f} GB of this machine's {machine / 1e9:.1f}; convert with fewer "
            "bits, choose a smaller model (`mlx-deepseek models`), or use a larger machine."
        )
    return needed


def loaded_bytes(folder: Path) -> int:
    """Bytes of a checkpoint's weights once loaded here, from the files' headers.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    item_bytes = 2 if compute_dtype() is None else 4  # of what is not packed
    total = 0
    for path in weight_files(folder):
        for info in read_header(path)[0].values():
            stored = FLOATS.get(info.dtype)
            grown = 1 if stored is None else max(item_bytes, stored) / stored
            total += int(info.nbytes * grown)
    return total


def _read_limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and 0 < int(text) < UNLIMITED else None
