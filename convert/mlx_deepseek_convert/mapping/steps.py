"""The lawful steps from a source's tensors to a target's: of a release, or of an MLX checkpoint."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.checkpoint.mlx_vlm_names import rename, renamed
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.models import layout
from mlx_deepseek_convert.mapping import rules, validate
from mlx_deepseek_convert.mapping.maps import rules_for
from mlx_deepseek_convert.mapping.ops import (
    ChannelsFirst,
    ChannelsLast,
    Copy,
    Drop,
    JoinHeads,
    Kernel,
    Matrix,
    SplitHeads,
    Stack,
)
from mlx_deepseek_convert.mapping.rules import PLACEHOLDER, Rule
from mlx_deepseek_convert.mapping.validate import MappingStep
from mlx_deepseek_convert.source.checkpoint import Source, open_source
from mlx_deepseek_convert.source.find import locate
from mlx_deepseek_convert.source.formats import Shape
from mlx_deepseek_convert.source.tensors import Tensor

# Written by old versions of transformers; models compute them.
UNUSED = "rotary_emb.inv_freq"


def make_steps(source: Source) -> tuple[list[MappingStep], nn.Module]:
    """The steps to the parameters of the source's (unloaded) model.

    Raises:
        CheckpointError: the tensors break one of the weight map's laws.
        ConfigError: unknown architecture or configuration.
    """
    config = present_config(source)
    fused = not source.is_release
    model = models.build(config, layout=layout(source.tensors) if fused else None)
    if fused:
        steps = list(_same_names(source))
    else:
        layers: Any = getattr(model, "layers", ())
        claims = rules.claim(source.tensors, rules_for(config), len(layers), source.folder)
        steps = [validate.resolve(claim, source.tensors) for claim in claims]
    validate.check(steps, parameters(model), source.folder)
    return steps, model


def weights(source: str | Path | Source, dtype: mx.Dtype | str) -> Iterator[tuple[str, mx.array]]:
    """Every parameter under its MLX name, unquantized, in `dtype`; FP8 multiplied in float32.

    Raises:
        CheckpointError: as `make_steps`.
        ConfigError: unknown architecture or configuration.
    """
    kind: mx.Dtype = getattr(mx, dtype) if isinstance(dtype, str) else dtype
    if not isinstance(source, Source):
        source = open_source(locate(source))
    steps, _ = make_steps(source)
    for step in steps:
        for (name, _), value in zip(step.targets, step.values(), strict=True):
            floating = mx.issubdtype(value.dtype, mx.floating)
            yield name, value.astype(kind) if floating else value


def present_config(source: Source) -> dict[str, Any]:
    """The config, without MTP layers if the source has none of their tensors.

    Some uploads leave them out while config.json still counts them.
    """
    config = dict(source.config)
    if models.mtp_layers(config):
        first = f"model.layers.{config.get('num_hidden_layers')}.", "mtp."
        if not any(name.startswith(first) for name in source.tensors):
            config = models.without_mtp(config)
    return config


def parameters(model: nn.Module) -> dict[str, Shape]:
    """Names and shapes of a model's parameters, in order."""
    flat = tree_flatten(model.parameters())
    return {name: tuple(value.shape) for name, value in flat if isinstance(value, mx.array)}


def _same_names(source: Source) -> Iterator[MappingStep]:
    tied = source.config.get("tie_word_embeddings", False)
    for stored, tensor in source.tensors.items():
        name = rename(stored)
        if name is None or name.endswith(UNUSED) or (tied and name.startswith("lm_head.")):
            yield MappingStep(Drop(), (tensor,), ())
        else:
            yield MappingStep(Copy(), (tensor,), ((name, tensor.shape),))


def release_steps(source: Source) -> list[MappingStep]:
    """The steps from an MLX checkpoint back to the names and shapes of a release.

    Raises:
        CheckpointError: a tensor that the weight map does not make.
        ConfigError: unknown architecture or configuration.
    """
    if source.is_release:
        raise CheckpointError(
            f"{source.folder}: not an MLX checkpoint. Expected one to export; releases are as they "
            "are."
        )
    model = make_steps(source)[1]  # is it exactly the model?
    layers: Any = getattr(model, "layers", ())
    tensors = renamed(source.tensors)
    steps = []
    for rule in rules_for(source.config):
        steps += _reversed(rule, tensors, len(layers))
    for name in tensors:
        if not name.endswith(UNUSED):
            raise CheckpointError(
                f"{source.folder}: tensor {name!r} has no place in a release of this architecture. "
                "Convert the original release instead."
            )
    return sorted(steps, key=lambda step: _natural(step.targets[0][0]))


def _reversed(rule: Rule, tensors: dict[str, Tensor], layers: int) -> Iterator[MappingStep]:
    """The steps that undo a rule; takes its tensors out of `tensors`."""
    if not rule.targets:
        return
    pattern = re.compile(
        PLACEHOLDER.sub(lambda m: rf"(?P<{m[1]}>\d+)", rule.targets[0].replace(".", r"\."))
    )
    for match in [match for name in tensors if (match := pattern.fullmatch(name))]:
        numbers: Mapping[str, int] = {key: int(text) for key, text in match.groupdict().items()}
        sources = tuple(tensors.pop(target.format(**numbers)) for target in rule.targets)
        if "mtp" in numbers:
            numbers = {"mtp": numbers["mtp"] + layers}
        name = rule.source.format(**numbers, expert="{expert}")
        if isinstance(rule.op, Stack):
            for expert in range(sources[0].shape[0]):
                one = sources[0].item(expert)
                yield MappingStep(Copy(), (one,), ((name.format(expert=expert), one.shape),))
        elif isinstance(rule.op, SplitHeads):
            (shape,) = JoinHeads().shapes([tensor.shape for tensor in sources])
            yield MappingStep(JoinHeads(), sources, ((name, shape),))
        elif isinstance(rule.op, ChannelsLast):
            (shape,) = ChannelsFirst().shapes([sources[0].shape])
            yield MappingStep(ChannelsFirst(), sources, ((name, shape),))
        elif isinstance(rule.op, Matrix):
            (shape,) = Kernel().shapes([sources[0].shape])
            yield MappingStep(Kernel(), sources, ((name, shape),))
        elif isinstance(rule.op, Copy):
            yield MappingStep(Copy(), sources, ((name, sources[0].shape),))
        else:
            raise ConfigError(f"{rule.source}: no way back from {type(rule.op).__name__}.")


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = name.split(".")
    return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts]
