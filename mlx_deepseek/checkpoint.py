"""From a folder of weights to a model: ours, mlx-lm's and mlx-community's checkpoints alike."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.utils import infer_quant_config

from mlx_deepseek import models
from mlx_deepseek.converters import converter
from mlx_deepseek.cpu import spread
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.layers.joined import join_all
from mlx_deepseek.mlx_vlm_names import renamed, renamed_modules
from mlx_deepseek.tensor_file import read_header

INDEX = "model.safetensors.index.json"
MTP_FILE = "mtp.safetensors"
MTP_KEY = "num_nextn_predict_layers"
SHARD = re.compile(r"model-\d{5}-of-(?P<total>\d{5})\.safetensors")
# The router's correction bias decides between close experts; releases keep it in float32.
EXACT = "e_score_correction_bias"
# The router computes in float32: converted once, instead of at every token.
ROUTER = ".mlp.gate.weight"
NAMES_SHOWN = 5


def load_model(folder: Path, *, dtype: mx.Dtype | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The evaluated model of an MLX checkpoint, and its config; every thread may use it.

    `dtype` is what is computed in; None takes `compute_dtype()`. Of a folder with an index only
    the files in the index are read, and `mtp.safetensors`; without that file the model has no MTP
    layers.

    Raises:
        CheckpointError: files or tensors are missing, damaged, unknown or of the wrong shape.
        ConfigError: unknown architecture, or one we would compute wrongly.
    """
    config = read_config(folder)
    weights = read_weights(folder, config)
    if config.get(MTP_KEY) and not any(name.startswith("mtp.") for name in weights):
        config = {**config, MTP_KEY: 0}
    model = models.build(config, layout=layout(weights))
    quantize(model, config, weights)
    return finish(model, weights, folder, dtype or compute_dtype()), config


def load_source(folder: Path, dtype: mx.Dtype) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a Hugging Face checkpoint, unquantized, all of it in `dtype`.

    Raises:
        CheckpointError, ConfigError: as `load_model`.
    """
    config = read_config(folder)
    weights = dict(converter().weights(folder, dtype))
    model = models.build(config)
    return finish(model, weights, folder, dtype), config


def compute_dtype() -> mx.Dtype | None:
    """float32 on a CPU, which has no bfloat16 arithmetic; None on GPUs: as the checkpoint says."""
    return mx.float32 if mx.default_device().type == mx.DeviceType.cpu else None


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, with the stop tokens of generation_config.json, which are more complete.

    Raises:
        CheckpointError: no such folder.
        ConfigError: config.json is missing or damaged.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder. Expected a checkpoint with config.json.")
    config = read_json(folder / "config.json")
    if (folder / "generation_config.json").is_file():
        stops = read_json(folder / "generation_config.json").get("eos_token_id")
        config |= {} if stops is None else {"eos_token_id": stops}
    return config


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ConfigError: the file is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing. Expected a checkpoint's {path.name}.") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{path}: not readable as JSON ({error}). Download it again.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: not a JSON object. Download it again.")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The files with weights: those that the index names, else all model*.safetensors.

    Raises:
        CheckpointError: a file is missing, or the index names one outside the folder.
    """
    extra = [folder / MTP_FILE] if (folder / MTP_FILE).is_file() else []
    if not (folder / INDEX).is_file():
        found = sorted(folder.glob("model*.safetensors"))
        if not found:
            raise CheckpointError(f"{folder}: no weights. Expected model*.safetensors.")
        _check_shards(found)
        return found + extra
    table = read_json(folder / INDEX).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{folder / INDEX}: no weight_map. Download it again.")
    for tensor, name in table.items():
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise CheckpointError(
                f"{folder / INDEX}: tensor {tensor!r} points to {name!r}. Expected a file in the "
                "checkpoint's own folder; the index may be malicious."
            )
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder / name}: shard missing; it holds tensor {tensor!r}. Download it again."
            )
    return [folder / name for name in sorted(set(table.values()))] + extra


def _check_shards(found: list[Path]) -> None:
    present = {path.name for path in found}
    for path in found:
        match = SHARD.fullmatch(path.name)
        for number in range(1, int(match["total"]) + 1 if match else 0):
            name = f"model-{number:05d}-of-{match['total']}.safetensors" if match else ""
            if name not in present:
                raise CheckpointError(f"{path.parent / name}: shard missing. Download it again.")


def read_weights(folder: Path, config: Mapping[str, Any]) -> dict[str, mx.array]:
    """Every tensor by its name here, not yet in memory, without what no model computes with."""
    weights: dict[str, mx.array] = {}
    for path in weight_files(folder):
        if path.name == MTP_FILE and not config.get(MTP_KEY):
            continue
        read_header(path)  # names the damage, which mx.load would find much later
        weights.update(mx.load(str(path)))  # type: ignore[arg-type]
    tied = bool(config.get("tie_word_embeddings"))
    return {
        name: value
        for name, value in renamed(weights).items()
        if not name.endswith("rotary_emb.inv_freq") and not (tied and name.startswith("lm_head."))
    }


def layout(weights: Iterable[str]) -> str | None:
    """How MLA's up-projections are stored; mlx-community's older V3 checkpoints have kv_b_proj."""
    for part, name in ((".kv_b_proj.", "kv_b_proj"), (".embed_q.", "split")):
        if any(part in tensor for tensor in weights):
            return name
    return None


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


def finish(
    model: nn.Module, weights: dict[str, mx.array], folder: Path, dtype: mx.Dtype | None
) -> nn.Module:
    """Put `weights` into `model`, cast, evaluate."""
    check_names(model, weights, folder)
    model.load_weights([(name, cast(name, value, dtype)) for name, value in weights.items()])
    weights.clear()  # each file's values must not stay in memory twice
    model.eval()
    if mx.default_device().type == mx.DeviceType.cpu:
        spread(model)
    join_all(model)
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
