"""What a conversion will do, tensor by tensor, computed from headers and config alone."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.nn as nn

from mlx_deepseek.checkpoint.files import MTP_FILE
from mlx_deepseek.checkpoint.load_weights import EXACT
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.models import describe as architecture_of
from mlx_deepseek_convert.mapping.adapters import merge_adapter
from mlx_deepseek_convert.mapping.steps import make_steps, parameters, release_steps
from mlx_deepseek_convert.mapping.validate import MappingStep
from mlx_deepseek_convert.planning import recipes
from mlx_deepseek_convert.planning.lossless import keeps_codes, original_setting
from mlx_deepseek_convert.planning.outputs import Output, describe, output_config
from mlx_deepseek_convert.planning.recipes import Recipe
from mlx_deepseek_convert.source.checkpoint import Source
from mlx_deepseek_convert.source.find import find_source
from mlx_deepseek_convert.source.formats import Shape
from mlx_deepseek_convert.source.lora import Merged
from mlx_deepseek_convert.source.tensors import Packed

SHARD_BYTES = 4 << 30


@dataclass(frozen=True)
class TensorJob:
    """A step whose outputs' storage is decided; `exact`: the source's codes stay as they are."""

    step: MappingStep
    outputs: tuple[Output, ...]
    exact: bool = False

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
    files: Mapping[str, tuple[TensorJob, ...]]
    dropped: tuple[str, ...]
    layout: str = "mlx"  # "pt": a release's names and shapes
    recipe_detail: str = ""

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
    def exact_parameters(self) -> int:
        """Numbers whose stored codes are the source's own."""
        jobs = (job for jobs in self.files.values() for job in jobs if job.exact)
        return sum(math.prod(output.shape) for job in jobs for output in job.outputs)

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
            "model_type": self.config.get("model_type") or architecture_of(self.config),
            "recipe": self.recipe,
            "recipe_detail": self.recipe_detail,
            "tensors_in": self.source.stored,
            "tensors_dropped": len(self.dropped),
            "tensors_out": sum(len(list(output.tensors())) for output in self.outputs),
            "parameters": self.parameters,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "bits_per_weight": self.bits_per_weight,
            "exact_parameters": self.exact_parameters,
            "groups": self.groups(),
            "files": [
                {"name": name, "bytes": sum(job.nbytes for job in jobs)}
                for name, jobs in self.files.items()
            ],
        }


def plan(
    source: str | Path | Source,
    recipe: str | Recipe = "4bit",
    *,
    adapter: str | Path | None = None,
    revision: str | None = None,
) -> Plan:
    """What converting `source` (folder, hub id or "nano") would do; reads headers only.

    `adapter` is a folder with a LoRA adapter to be added, `revision` a branch, tag or commit.

    Raises:
        CheckpointError: files or tensors are missing, damaged, unknown or of the wrong shape.
        ConfigError: unknown architecture, configuration or recipe.
    """
    found = find_source(source, revision)
    return make_plan(found if adapter is None else merge_adapter(found, Path(adapter)), recipe)


def make_plan(
    source: Source, recipe: str | Recipe = "4bit", *, shard_bytes: int = SHARD_BYTES
) -> Plan:
    """Plan a conversion and check that it is exactly the model that config.json describes.

    Raises:
        CheckpointError: the tensors break one of the weight map's laws, or have fewer bits already.
        ConfigError: unknown architecture, configuration or recipe.
    """
    plan = draft(source, recipe, shard_bytes=shard_bytes)
    merged = any(isinstance(tensor, Merged) for tensor in source.tensors.values())
    if not source.is_release and not merged and plan.bytes_out >= plan.bytes_in:
        raise CheckpointError(
            f"{source.folder}: already an MLX checkpoint, and recipe {plan.recipe!r} would make it "
            "no smaller. Load it as it is, choose fewer bits, or convert the original release."
        )
    return plan


def draft(source: Source, recipe: str | Recipe, *, shard_bytes: int = SHARD_BYTES) -> Plan:
    """A plan that may make an MLX checkpoint larger, to compare sizes with.

    Raises:
        CheckpointError, ConfigError: as `make_plan`.
    """
    table = recipe if isinstance(recipe, Recipe) else recipes.get(recipe)
    steps, model = make_steps(source)
    eligible = quantizable(model)
    routed = any(".switch_mlp." in path for path in eligible)
    order = {name: place for place, name in enumerate(parameters(model))}
    made = [step for step in steps if step.targets]
    made.sort(key=lambda step: order[step.targets[0][0]])
    jobs = []
    for step in made:
        outputs = [
            _output(step, *target, table, eligible, routed, source.config)
            for target in step.targets
        ]
        jobs.append(TensorJob(step, tuple(outputs), keeps_codes(step, outputs, source.config)))
    outputs = [output for job in jobs for output in job.outputs]
    config = output_config(source.config, outputs, eligible)
    dropped = tuple(step.sources[0].info.name for step in steps if not step.targets)
    files = _pack(jobs, shard_bytes)
    return Plan(source, table.name, config, files, dropped, recipe_detail=table.summary)


def plan_release(source: Source, *, shard_bytes: int = SHARD_BYTES) -> Plan:
    """Plan the way back: an MLX checkpoint in the names and shapes of a release, in bfloat16.

    Raises:
        CheckpointError: not an MLX checkpoint, or one with tensors that no release has.
        ConfigError: as `make_plan`.
    """
    jobs = [
        TensorJob(step, tuple(_plain(step, *target) for target in step.targets))
        for step in release_steps(source)
    ]
    config = {key: value for key, value in source.config.items() if key != "quantization"}
    config = output_config(config, [], ())
    return Plan(source, "release", config, _pack(jobs, shard_bytes), (), layout="pt")


def quantizable(model: nn.Module) -> set[str]:
    """Paths of the modules whose weight MLX can quantize."""
    return {path for path, module in model.named_modules() if hasattr(module, "to_quantized")}


def _output(
    step: MappingStep,
    name: str,
    shape: Shape,
    recipe: Recipe,
    eligible: set[str],
    routed: bool,
    config: Mapping[str, Any],
) -> Output:
    path = name.removesuffix(".weight")
    if not name.endswith(".weight") or path not in eligible:
        return _plain(step, name, shape)
    setting = recipe.setting(path, shape, routed=routed)
    tensor = step.sources[0]
    if recipe.original:
        return Output(name, shape, "BF16", original_setting(tensor, config))
    if isinstance(tensor, Packed) and (
        setting.bits >= tensor.setting.bits if setting is not None else not tensor.released
    ):
        dtype = tensor.extra[0].dtype if tensor.setting.mode == "affine" else "BF16"
        return Output(name, shape, dtype, tensor.setting)
    return Output(name, shape, "BF16", setting)


def _plain(step: MappingStep, name: str, shape: Shape) -> Output:
    dtype = step.sources[0].info.dtype
    if dtype in ("I32", "I64"):
        return Output(name, shape, "I32", None)
    return Output(name, shape, dtype if name.endswith(EXACT) else "BF16", None)


def _pack(jobs: list[TensorJob], shard_bytes: int) -> dict[str, tuple[TensorJob, ...]]:
    shards: list[list[TensorJob]] = []
    mtp: list[TensorJob] = []
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
