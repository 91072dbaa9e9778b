"""What a model costs: parameters, bytes, cache per token, and the context that fits a machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.models import language_config

CACHE_ITEM_BYTES = 2  # bfloat16
TABLE = ".engram.embed"  # of which a token needs a few dozen of millions of rows


@dataclass(frozen=True)
class Sizes:
    """A model in numbers; MTP layers, which decoding does not use, are only in `mtp`.

    `total`, `active` and `mtp` count parameters. A token's `active` ones are K of E experts and all
    else but the embedding table, of which it reads one row: the number that the authors publish of
    mixtures of experts. `stored_bytes` is the main model with scales, `read_bytes` what decoding
    one token reads of it.
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


def count(model: nn.Module) -> Sizes:
    """Measure a model as it is built, quantized or not; nothing is evaluated."""
    shares, looked_up = routed_shares(model), tables(model)
    total = active = mtp = stored = read = 0.0
    for path, module in model.named_modules():
        numbers, nbytes = parameters(module)
        if path == "mtp" or path.startswith("mtp."):
            mtp += numbers
            continue
        share = next((s for prefix, s in shares.items() if path.startswith(prefix)), 1.0)
        total += numbers
        share = 0.0 if path in looked_up else share
        active += numbers * share
        stored += nbytes
        read += nbytes * share
    return Sizes(int(total), round(active), int(mtp), int(stored), round(read))


def routed_shares(model: nn.Module) -> dict[str, float]:
    """K / E of every group of routed experts in memory, by the prefix of its modules' paths."""
    return {
        f"{path}.switch_mlp.": module.gate.config.per_token / module.switch_mlp.in_memory
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


def tables(model: nn.Module) -> set[str]:
    """Paths of the modules of which a token reads few rows; a tied embedding is all read."""
    paths = [path for path, _ in model.named_modules()]
    untied = any(path.split(".")[-1] == "lm_head" for path in paths)
    ends = (TABLE, "embed_tokens") if untied else (TABLE,)
    return {path for path in paths if path.endswith(ends)}


def cache_bytes_per_token(
    model: nn.Module, config: Mapping[str, Any], item_bytes: int = CACHE_ITEM_BYTES
) -> int:
    """Bytes that one more token of context takes, over all layers.

    Raises:
        ConfigError: `config` lacks the sizes of the attention.
    """
    layers: Any = model.layers
    return round(item_bytes * sum(cache_width(layer.self_attn, config) for layer in layers))


def cache_width(attention: Any, config: Mapping[str, Any]) -> float:
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
