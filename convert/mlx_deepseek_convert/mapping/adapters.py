"""Adding a LoRA adapter to the weights of a source, whichever of the two has which names."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.mapping.ops import Copy, Stack
from mlx_deepseek_convert.mapping.steps import make_steps
from mlx_deepseek_convert.source.checkpoint import Source
from mlx_deepseek_convert.source.lora import LowRank, Merged, read_adapter


def merge_adapter(source: Source, folder: Path) -> Source:
    """`source` with the adapter in `folder` added to its weights.

    Raises:
        CheckpointError: the adapter is damaged, or not for this model.
        ConfigError: a kind of adapter other than plain LoRA.
    """
    adapter = read_adapter(folder)
    tensors = dict(source.tensors)
    for name, change in in_source_names(source, adapter.changes).items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != change.shape:
            found = "which the model does not have" if tensor is None else list(tensor.shape)
            raise CheckpointError(
                f"{adapter.path}: changes {name!r} {list(change.shape)}, {found}. Expected an "
                "adapter of this model."
            )
        tensors[name] = Merged(info=tensor.info, base=tensor, change=change)
    return replace(source, tensors=tensors, identity=f"{source.identity}+{adapter.digest}")


def in_source_names(source: Source, changes: Mapping[str, LowRank]) -> dict[str, LowRank]:
    """Changes by the names of the source's tensors; adapters of mlx-lm have MLX's.

    Those of a stack of experts are divided among a release's experts. What no rule of the weight
    map makes keeps its name.
    """
    if changes.keys() <= source.tensors.keys():
        return dict(changes)
    found = dict(changes)
    for step in make_steps(source)[0]:
        target = step.targets[0][0] if len(step.targets) == 1 else ""
        if target not in changes or target in source.tensors:
            continue
        change, names = found.pop(target), [tensor.info.name for tensor in step.sources]
        if isinstance(step.op, Copy):
            found[names[0]] = change
        elif isinstance(step.op, Stack) and len(change.up) == len(names):
            found |= {name: change.expert(number) for number, name in enumerate(names)}
        else:
            found[target] = change
    return found
