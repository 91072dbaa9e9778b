"""A checkpoint's bytes layer by layer, for the plan of who holds what."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_deepseek import models
from mlx_deepseek.catalog import embedded
from mlx_deepseek.checkpoint.converter import DEFAULT_RECIPE, converter
from mlx_deepseek.checkpoint.engram_tables import TABLE
from mlx_deepseek.checkpoint.expert_files import named_tensors
from mlx_deepseek.checkpoint.files import read_config
from mlx_deepseek.checkpoint.room import tensor_bytes
from mlx_deepseek.distributed.plan import LayerBytes, ModelBytes
from mlx_deepseek.distributed.shares import holder_of, require_divisible, stands_apart
from mlx_deepseek.models.expert_memory import CONTEXT_TOKENS, drafts, memory_of
from mlx_deepseek.models.sizes import cache_width
from mlx_deepseek.runtime.device import compute_item_bytes

# What machines divide of a layer in mode `tensor`, beside routed experts.
DIVIDED = re.compile(
    r"(?<!\.indexer)\.(q_proj|q_b_proj|kv_b_proj|embed_q|unembed_out|k_proj|v_proj|o_proj"
    r"|o_a_proj|o_b_proj|gate_proj|up_proj|down_proj)\."
)


def model_bytes(folder: Path) -> ModelBytes:
    """A checkpoint's bytes once loaded here, from its headers.

    Raises:
        CheckpointError, ConfigError: files are missing, damaged or unknown, or the model cannot be
            split in such a way.
    """
    config, infos = read_config(folder), named_tensors(folder)
    if converter().open(folder).is_release:  # computed with as it is
        built: Any = models.build(config)
        grown = compute_item_bytes() / 2
        sizes = {name: int(n * grown) for name, n in _stored(built, "bf16").items()}
        return by_layer(built, config, sizes)
    loaded = {
        name: tensor_bytes(info, compute_item_bytes())
        for name, info in infos.items()
        if TABLE not in name
    }
    if not any(drafts(name) for name in loaded):
        config = models.without_mtp(config)
    return by_layer(models.build(config), config, loaded)


def expected_bytes(built: Any, config: Mapping[str, Any], folder: Path | None) -> ModelBytes:
    """A model's bytes by its checkpoint, or as the default recipe would store it."""
    whole = folder is not None and embedded.name_of(folder) is not None  # stays as it is
    if folder is not None and (whole or not converter().open(folder).is_release):
        return model_bytes(folder)
    return by_layer(built, config, _stored(built, DEFAULT_RECIPE))


def _stored(built: Any, recipe: str) -> dict[str, int]:
    return dict(converter().stored_bytes(built, recipe))


def by_layer(built: Any, config: Mapping[str, Any], loaded: Mapping[str, int]) -> ModelBytes:
    """Bytes of a built model's layers, with a page of context, by its arrays' names."""
    require_divisible(built)
    holder, _ = holder_of(built)
    memory = memory_of(built, loaded)
    window = int(models.language_config(config).get("max_position_embeddings") or CONTEXT_TOKENS)
    context = min(window, CONTEXT_TOKENS) * compute_item_bytes()
    layers = []
    for number, layer in enumerate(built.layers):
        prefix = f"{holder}.layers.{number}."
        experts = {path: one for path, one in memory.layers.items() if path.startswith(prefix)}
        routed = tuple(f"{path}." for path in experts)
        dense = {
            name: size
            for name, size in loaded.items()
            if name.startswith(prefix) and not name.startswith(routed)
        }
        cache = round(cache_width(layer.self_attn, config) * context)
        cache += getattr(layer.self_attn, "fixed_cache_width", 0) * compute_item_bytes()
        divided = sum(size for name, size in dense.items() if DIVIDED.search(name))
        apart = stands_apart(built.layers[number:])
        layers.append(LayerBytes(sum(dense.values()), divided, cache, experts, apart))
    base = sum(n for name, n in loaded.items() if not name.startswith(f"{holder}.layers."))
    read = memory.dense_read_bytes - sum(layer.dense for layer in layers)
    return ModelBytes(base, read, tuple(layers))
