"""What a conversion will do, tensor by tensor, computed from headers and config alone."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import laws, recipes, rules
from mlx_deepseek_convert.laws import Step
from mlx_deepseek_convert.maps import rules_for
from mlx_deepseek_convert.ops import Shape
from mlx_deepseek_convert.outputs import Output, describe, output_config
from mlx_deepseek_convert.recipes import Recipe
from mlx_deepseek_convert.source import Source, is_mlx_layout

SHARD_BYTES = 4 << 30
MTP_FILE = "mtp.safetensors"

# Added to scores to choose experts: rounding it would choose others.
KEEPS_DTYPE = "e_score_correction_bias"


@dataclass(frozen=True)
class Job:
    """A step whose outputs' storage is decided."""

    step: Step
    outputs: tuple[Output, ...]

    @property
    def nbytes(self) -> int:
        """Bytes it will write."""
        return sum(output.nbytes for output in self.outputs)


@dataclass(frozen=True)
class Plan:
    """A conversion, ready to run: `files` maps each weight file to its jobs, in order."""

    source: Source
    recipe: str
    config: dict[str, Any]
    files: Mapping[str, tuple[Job, ...]]
    dropped: tuple[str, ...]

    @property
    def outputs(self) -> list[Output]:
        """Every parameter, in the order of writing."""
        return [output for jobs in self.files.values() for job in jobs for output in job.outputs]

    @property
    def parameters(self) -> int:
        """Numbers in the model, MTP layers included."""
        return sum(math.prod(output.shape) for output in self.outputs)

    @property
    def bytes_in(self) -> int:
        """Bytes of the source's tensors."""
        return sum(tensor.nbytes for tensor in self.source.tensors.values())

    @property
    def bytes_out(self) -> int:
        """Bytes of the tensors to be written."""
        return sum(output.nbytes for output in self.outputs)

    @property
    def bits_per_weight(self) -> float:
        """Of the result, scales included."""
        return 8 * self.bytes_out / self.parameters

    def groups(self) -> dict[str, int]:
        """Parameters by storage, such as "4-bit affine, groups of 64"."""
        counts: Counter[str] = Counter()
        for output in self.outputs:
            counts[describe(output)] += math.prod(output.shape)
        return dict(counts.most_common())

    def summary(self) -> dict[str, Any]:
        """The plan in numbers, as plain data."""
        return {
            "source": str(self.source.folder),
            "model_type": self.config["model_type"],
            "recipe": self.recipe,
            "tensors_in": self.source.stored,
            "tensors_dropped": len(self.dropped),
            "tensors_out": sum(len(list(output.tensors())) for output in self.outputs),
            "parameters": self.parameters,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "bits_per_weight": self.bits_per_weight,
            "groups": self.groups(),
            "files": [
                {"name": name, "bytes": sum(job.nbytes for job in jobs)}
                for name, jobs in self.files.items()
            ],
        }


def make_plan(source: Source, recipe: str = "4bit", *, shard_bytes: int = SHARD_BYTES) -> Plan:
    """Plan a conversion and check that it is exactly the model that config.json describes.

    Raises:
        CheckpointError: the tensors break one of the weight map's laws.
        ConfigError: unknown architecture, configuration or recipe.
    """
    table = recipes.get(recipe)
    steps, model = make_steps(source)
    eligible = quantizable(model)
    routed = any(".switch_mlp." in path for path in eligible)
    order = {name: place for place, name in enumerate(_parameters(model))}
    jobs = [
        Job(step, tuple(_output(step, *target, table, eligible, routed) for target in step.targets))
        for step in steps
        if step.targets
    ]
    jobs.sort(key=lambda job: order[job.outputs[0].name])
    dropped = tuple(step.sources[0].info.name for step in steps if not step.targets)
    files = _pack(jobs, shard_bytes)
    outputs = [output for job in jobs for output in job.outputs]
    config = output_config(source.config, outputs, eligible)
    return Plan(source, recipe, config, files, dropped)


def make_steps(source: Source) -> tuple[list[Step], nn.Module]:
    """The lawful steps from a source's tensors to the parameters of its (unloaded) model."""
    config = source.config
    if is_mlx_layout(source):
        raise CheckpointError(
            f"{source.folder}: already an MLX checkpoint. Expected a Hugging Face one; load it as "
            "it is, or convert the original with another recipe."
        )
    model = models.build(present_config(source))
    layers = config["num_hidden_layers"]
    claims = rules.claim(source.tensors, rules_for(config), layers, source.folder)
    steps = [laws.resolve(claim, source.tensors) for claim in claims]
    laws.check(steps, _parameters(model), source.folder)
    return steps, model


def present_config(source: Source) -> dict[str, Any]:
    """The config, without MTP layers if the source has none of their tensors.

    Some uploads leave them out while config.json still counts them.
    """
    config = dict(source.config)
    if config.get("num_nextn_predict_layers"):
        first = f"model.layers.{config['num_hidden_layers']}."
        if not any(name.startswith(first) for name in source.tensors):
            config["num_nextn_predict_layers"] = 0
    return config


def quantizable(model: nn.Module) -> set[str]:
    """Paths of the modules whose weight MLX can quantize."""
    return {path for path, module in model.named_modules() if hasattr(module, "to_quantized")}


def _output(
    step: Step, name: str, shape: Shape, recipe: Recipe, eligible: set[str], routed: bool
) -> Output:
    source_dtype = step.sources[0].info.dtype
    dtype = source_dtype if name.endswith(KEEPS_DTYPE) else "BF16"
    path = name.removesuffix(".weight")
    setting = None
    if name.endswith(".weight") and path in eligible:
        setting = recipe.setting(path, shape, routed=routed)
    return Output(name, shape, dtype, setting)


def _parameters(model: nn.Module) -> dict[str, Shape]:
    flat = tree_flatten(model.parameters())
    return {name: tuple(value.shape) for name, value in flat if isinstance(value, mx.array)}


def _pack(jobs: list[Job], shard_bytes: int) -> dict[str, tuple[Job, ...]]:
    shards: list[list[Job]] = []
    mtp: list[Job] = []
    room = 0
    for job in jobs:
        if job.outputs[0].name.startswith("mtp."):
            mtp.append(job)
            continue
        if not shards or job.nbytes > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(job)
        room -= job.nbytes
    if not shards:
        raise CheckpointError("The checkpoint holds no tensor of the model.")
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    files = {name: tuple(shard) for name, shard in zip(names, shards, strict=True)}
    return files | ({MTP_FILE: tuple(mtp)} if mtp else {})
