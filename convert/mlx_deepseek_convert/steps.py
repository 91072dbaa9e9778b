"""The lawful steps from a source's tensors to a target's: of a release, or of an MLX checkpoint."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.checkpoint import layout
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.mlx_vlm_names import rename, renamed
from mlx_deepseek_convert import laws, rules
from mlx_deepseek_convert.laws import Step
from mlx_deepseek_convert.maps import rules_for
from mlx_deepseek_convert.ops import (
    ChannelsFirst,
    ChannelsLast,
    Copy,
    Drop,
    JoinHeads,
    Shape,
    SplitHeads,
    Stack,
)
from mlx_deepseek_convert.rules import PLACEHOLDER, Rule
from mlx_deepseek_convert.source import Source, is_mlx_layout
from mlx_deepseek_convert.tensors import Tensor

# Written by old versions of transformers; models compute them.
UNUSED = "rotary_emb.inv_freq"


def make_steps(source: Source) -> tuple[list[Step], nn.Module]:
    """The steps to the parameters of the source's (unloaded) model.

    Raises:
        CheckpointError: the tensors break one of the weight map's laws.
        ConfigError: unknown architecture or configuration.
    """
    config = present_config(source)
    fused = is_mlx_layout(source)
    model = models.build(config, layout=layout(source.tensors) if fused else None)
    if fused:
        steps = list(_same_names(source))
    else:
        layers: Any = model.layers
        claims = rules.claim(source.tensors, rules_for(config), len(layers), source.folder)
        steps = [laws.resolve(claim, source.tensors) for claim in claims]
    laws.check(steps, parameters(model), source.folder)
    return steps, model


def present_config(source: Source) -> dict[str, Any]:
    """The config, without MTP layers if the source has none of their tensors.

    Some uploads leave them out while config.json still counts them.
    """
    config = dict(source.config)
    if config.get("num_nextn_predict_layers"):
        first = f"model.layers.{config.get('num_hidden_layers')}.", "mtp."
        if not any(name.startswith(first) for name in source.tensors):
            config["num_nextn_predict_layers"] = 0
    return config


def parameters(model: nn.Module) -> dict[str, Shape]:
    """Names and shapes of a model's parameters, in order."""
    flat = tree_flatten(model.parameters())
    return {name: tuple(value.shape) for name, value in flat if isinstance(value, mx.array)}


def _same_names(source: Source) -> Iterator[Step]:
    tied = source.config.get("tie_word_embeddings", False)
    for stored, tensor in source.tensors.items():
        name = rename(stored)
        if name is None or name.endswith(UNUSED) or (tied and name.startswith("lm_head.")):
            yield Step(Drop(), (tensor,), ())
        else:
            yield Step(Copy(), (tensor,), ((name, tensor.shape),))


def release_steps(source: Source) -> list[Step]:
    """The steps from an MLX checkpoint back to the names and shapes of a release.

    Raises:
        CheckpointError: a tensor that the weight map does not make.
        ConfigError: unknown architecture or configuration.
    """
    if not is_mlx_layout(source):
        raise CheckpointError(
            f"{source.folder}: not an MLX checkpoint. Expected one to export; releases are as they "
            "are."
        )
    model: Any = make_steps(source)[1]  # is it exactly the model?
    tensors = renamed(source.tensors)
    steps = []
    for rule in rules_for(source.config):
        steps += _reversed(rule, tensors, len(model.layers))
    for name in tensors:
        if not name.endswith(UNUSED):
            raise CheckpointError(
                f"{source.folder}: tensor {name!r} has no place in a release of this architecture. "
                "Convert the original release instead."
            )
    return sorted(steps, key=lambda step: _natural(step.targets[0][0]))


def _reversed(rule: Rule, tensors: dict[str, Tensor], layers: int) -> Iterator[Step]:
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
                yield Step(Copy(), (one,), ((name.format(expert=expert), one.shape),))
        elif isinstance(rule.op, SplitHeads):
            (shape,) = JoinHeads().shapes([tensor.shape for tensor in sources])
            yield Step(JoinHeads(), sources, ((name, shape),))
        elif isinstance(rule.op, ChannelsLast):
            (shape,) = ChannelsFirst().shapes([sources[0].shape])
            yield Step(ChannelsFirst(), sources, ((name, shape),))
        elif isinstance(rule.op, Copy):
            yield Step(Copy(), sources, ((name, sources[0].shape),))
        else:
            raise ConfigError(f"{rule.source}: no way back from {type(rule.op).__name__}.")


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = name.split(".")
    return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts]
