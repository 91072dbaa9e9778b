"""From a folder of weights to a model: ours, mlx-lm's and mlx-community's checkpoints alike."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.utils import infer_quant_config

from mlx_deepseek import models
from mlx_deepseek.checkpoint.converter import OpenedSource, converter
from mlx_deepseek.checkpoint.engram_tables import keep_tables_on_disk
from mlx_deepseek.checkpoint.expert_files import stream_experts
from mlx_deepseek.checkpoint.files import MTP_FILE, read_config, weight_files
from mlx_deepseek.checkpoint.mlx_vlm_names import renamed, renamed_modules
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek.checkpoint.token_map import attach_token_map
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.models import layout
from mlx_deepseek.runtime.cpu import parallelise

# What releases keep in float32: correction biases decide between close experts, and what weighs
# the copies of a residual stream, or opens a softmax, acts on everything after it.
EXACT = (
    "e_score_correction_bias",
    "e_score_correction_bias_vl",
    "_hc.fn",
    "_hc.base",
    "_hc.scale",
    "hc_head.fn",
    "hc_head.base",
    "hc_head.scale",
    ".sinks",
    ".position_bias",
    ".global_scale",  # NVFP4's, of each expert: float32 by format
)
# Architectures whose checkpoints may be of the text model alone.
TEXT_TOO = ("deepseek_v4", "deepseek_v41")
QUANTIZATION = ("group_size", "bits", "mode")
# The router computes in float32: converted once, instead of at every token.
ROUTER = ".mlp.gate.weight"
NAMES_SHOWN = 5
PartOf = Callable[[nn.Module], nn.Module]  # of a model that is filled, but not read


def load_model(
    folder: Path,
    *,
    dtype: mx.Dtype | None = None,
    capacities: Mapping[str, int] | None = None,
    part: PartOf | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """The evaluated model of an MLX checkpoint, and its config; every thread may use it.

    `dtype` is what is computed in; None takes `compute_dtype()`. Of a folder with an index only
    the files in the index are read, and `mtp.safetensors`; without that file the model has no MTP
    layers. `capacities` says how many routed experts of a layer, by its experts' path, are held in
    memory; the others are read when tokens choose them. `part` leaves of a model what this machine
    computes.

    Raises:
        CheckpointError: files or tensors are missing, damaged, unknown or of the wrong shape.
        ConfigError: unknown architecture, or one we would compute wrongly.
    """
    config = read_config(folder)
    weights = read_weights(folder, config)
    if models.mtp_layers(config) and not any(name.startswith("mtp.") for name in weights):
        config = models.without_mtp(config)
    if models.architecture(config) in TEXT_TOO and "image_start" not in weights:
        config = models.without_pictures(config)
    model = models.build(config, layout=layout(weights))
    quantize(model, config, weights)
    fill(model, weights, folder, dtype or compute_dtype())
    return place(model, folder, capacities, part), config


def load_source(
    folder: Path, dtype: mx.Dtype, source: OpenedSource | None = None, part: PartOf | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a Hugging Face checkpoint, unquantized, all of it in `dtype`.

    `source` are its headers, where they have been read before; `part` as in `load_model`.

    Raises:
        CheckpointError, ConfigError: as `load_model`.
    """
    config = read_config(folder)
    weights = dict(converter().weights(source or folder, dtype))
    model = models.build(config)
    fill(model, weights, folder, dtype)
    return place(model, folder, part=part), config


def compute_dtype() -> mx.Dtype | None:
    """float32 on a CPU, which has no bfloat16 arithmetic; None on GPUs: as the checkpoint says."""
    return mx.float32 if mx.default_device().type == mx.DeviceType.cpu else None


def read_weights(folder: Path, config: Mapping[str, Any]) -> dict[str, mx.array]:
    """Every tensor by its name here, not yet in memory, without what no model computes with."""
    weights: dict[str, mx.array] = {}
    for path in weight_files(folder):
        if path.name == MTP_FILE and not models.mtp_layers(config):
            continue
        read_header(path)  # names the damage, which mx.load would find much later
        weights.update(mx.load(str(path)))  # type: ignore[arg-type]
    tied = bool(config.get("tie_word_embeddings"))
    return {
        name: value
        for name, value in renamed(weights).items()
        if not name.endswith("rotary_emb.inv_freq") and not (tied and name.startswith("lm_head."))
    }


def quantize(model: nn.Module, config: Mapping[str, Any], weights: dict[str, mx.array]) -> None:
    """Give `model` quantized layers where the checkpoint has them; settings as mlx-lm reads them.

    Raises:
        ConfigError: the config's `quantization` is not one.
    """
    settings = config.get("quantization")
    if settings is None:
        return
    if not isinstance(settings, dict) or not {"group_size", "bits"} <= settings.keys():
        raise ConfigError(
            f"config.json has quantization {settings!r}. Expected group_size, bits and mode."
        )
    settings = renamed_modules(settings)

    def choose(path: str, module: nn.Module) -> bool | dict[str, Any]:
        chosen = own_settings(path, module)
        if f"{path}.global_scale" in weights and chosen and hasattr(module, "num_experts"):
            given = settings if chosen is True else chosen
            return {key: given[key] for key in QUANTIZATION} | {"global_scale": True}
        return chosen

    def own_settings(path: str, module: nn.Module) -> bool | dict[str, Any]:
        if path in settings:
            return settings[path]
        if not hasattr(module, "to_quantized") or f"{path}.scales" not in weights:
            return False
        try:
            return infer_quant_config(path, module, weights)
        except ValueError as error:
            raise ConfigError(f"config.json, quantization: {error}") from error

    nn.quantize(
        model,
        group_size=settings["group_size"],
        bits=settings["bits"],
        mode=settings.get("mode", "affine"),
        class_predicate=choose,
    )


def fill(
    model: nn.Module, weights: dict[str, mx.array], folder: Path, dtype: mx.Dtype | None
) -> None:
    """Put `weights`, which are emptied, into `model`, cast but not yet read.

    Raises:
        CheckpointError: they are not the model's parameters.
    """
    check_names(model, weights, folder)
    model.load_weights([(name, cast(name, value, dtype)) for name, value in weights.items()])
    weights.clear()  # each file's values must not stay in memory twice
    attach_token_map(model, folder)
    model.eval()


def place(
    model: nn.Module,
    folder: Path,
    capacities: Mapping[str, int] | None = None,
    part: PartOf | None = None,
) -> nn.Module:
    """Bring a filled model's weights to where they are computed with: into memory.

    Engram's tables stay where they are, and of the layers that `capacities` names most experts. Of
    several machines each reads its `part`.

    Raises:
        CheckpointError: a file cannot be read.
    """
    keep_tables_on_disk(model, folder)
    stream_experts(model, folder, capacities or {})
    if part is not None:
        model = part(model)
    if mx.default_device().type == mx.DeviceType.cpu:
        parallelise(model)
    try:
        evaluate(model)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error}). Download it again.") from error
    return model


def evaluate(model: nn.Module) -> None:
    """Compute all of a model's arrays, constants too: pending ones cannot leave their thread."""
    values = [value for module in model.modules() for value in module.values()]
    mx.eval([value for value in values if isinstance(value, mx.array)])


def cast(name: str, value: mx.array, dtype: mx.Dtype | None) -> mx.array:
    """Floating values in `dtype`; routers in float32, packed weights and exact biases as is."""
    if name.endswith(ROUTER):
        return value.astype(mx.float32)
    if dtype is None or not mx.issubdtype(value.dtype, mx.floating) or name.endswith(EXACT):
        return value
    return value.astype(dtype)


def check_names(model: nn.Module, weights: Mapping[str, mx.array], folder: Path) -> None:
    """Raise CheckpointError unless `weights` are exactly the model's parameters."""
    expected: dict[str, mx.array] = dict(tree_flatten(model.parameters()))  # type: ignore[arg-type]
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if missing or unknown:
        lists = [("lacks", missing), ("has unknown", unknown)]
        parts = [f"{verb} {_some(names)}" for verb, names in lists if names]
        raise CheckpointError(
            f"{folder}: {' and '.join(parts)}. Expected the parameters that config.json describes; "
            "a file is missing, or config and weights are of different checkpoints."
        )
    for name, value in expected.items():
        if weights[name].shape != value.shape:
            raise CheckpointError(
                f"{folder}: tensor {name!r} is {list(weights[name].shape)}. Expected "
                f"{list(value.shape)} by config.json; they are of different checkpoints."
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(map(repr, sorted(names)[:NAMES_SHOWN]))
    more = len(names) - NAMES_SHOWN
    return f"{len(names)} tensors: {shown}" + (f" and {more} more" if more > 0 else "")
