"""The laws that tie a weight map to a model, checked on names and shapes alone (laws 4 and 5)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.mapping.ops import Op
from mlx_deepseek_convert.mapping.rules import Claim
from mlx_deepseek_convert.source.formats import Shape
from mlx_deepseek_convert.source.tensors import Tensor


@dataclass(frozen=True)
class MappingStep:
    """One operation with the tensors it reads and the parameters (name, shape) it makes."""

    op: Op
    sources: tuple[Tensor, ...]
    targets: tuple[tuple[str, Shape], ...]

    def values(self) -> list[mx.array]:
        """Each target's whole value, read here and now."""
        turns = [self.sources] if self.op.joins else [(tensor,) for tensor in self.sources]
        made = [self.op.apply([tensor.read() for tensor in turn]) for turn in turns]
        return [
            mx.concatenate(list(parts)).reshape(shape)
            for (_, shape), parts in zip(self.targets, zip(*made, strict=True), strict=True)
        ]


def resolve(claim: Claim, tensors: Mapping[str, Tensor]) -> MappingStep:
    """A claim with shapes, as its operation computes them.

    Raises:
        CheckpointError: the operation cannot take tensors of these shapes.
    """
    sources = tuple(tensors[name] for name in claim.sources)
    try:
        shapes = claim.rule.op.shapes([tensor.shape for tensor in sources])
    except ValueError as error:
        first = sources[0].info
        raise CheckpointError(
            f"{first.file}: tensor {first.name!r} has a wrong shape: {error}. config.json and "
            "weights do not belong together."
        ) from error
    return MappingStep(claim.rule.op, sources, tuple(zip(claim.targets, shapes, strict=True)))


def check(steps: Sequence[MappingStep], parameters: Mapping[str, Shape], where: object) -> None:
    """Refuse steps that do not make exactly the model's `parameters` in their shapes.

    Raises:
        CheckpointError: a parameter is made twice, not at all, unknown, or of another shape.
    """
    made: dict[str, MappingStep] = {}
    for step in steps:
        for name, shape in step.targets:
            source = step.sources[0].info
            if name in made:
                raise CheckpointError(
                    f"{source.file}: tensors {source.name!r} and "
                    f"{made[name].sources[0].info.name!r} both become {name!r}."
                )
            made[name] = step
            if name not in parameters:
                raise CheckpointError(
                    f"{source.file}: tensor {source.name!r} becomes {name!r}, which the model of "
                    "this config.json does not have. They do not belong together."
                )
            if shape != parameters[name]:
                raise CheckpointError(
                    f"{source.file}: tensor {source.name!r} {list(source.shape)} gives {name!r} "
                    f"{list(shape)}. Expected {list(parameters[name])} by config.json."
                )
    _check_complete(made, parameters, where)


def _check_complete(made: Iterable[str], parameters: Mapping[str, Shape], where: object) -> None:
    missing = sorted(parameters.keys() - set(made))
    if missing:
        raise CheckpointError(
            f"{where}: nothing becomes parameter {missing[0]!r} {list(parameters[missing[0]])} "
            f"({len(missing)} such parameters). A shard is missing; download it again."
        )
