"""Projections of one input as one product: fewer kernels to launch per token, same numbers."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn

Project = Callable[..., list[mx.array]]


class Joined:
    """Several layers' weights in one array, of which the layers keep views.

    So nothing is stored twice, and names stay those of the checkpoint.
    """

    def __init__(self, modules: Sequence[nn.Module]):
        self.modules = list(modules)
        self.whole: Any = copy.copy(modules[0])
        self.edges: list[int] = []
        end = 0
        for module in modules[:-1]:
            end += module["weight"].shape[-2]
            self.edges.append(end)
        for name in arrays(modules[0]):
            axis = -1 if name == "bias" else -2
            self.whole[name] = mx.concatenate([m[name] for m in modules], axis=axis)
            for module, part in zip(modules, self.split(self.whole[name], axis), strict=True):
                module[name] = part
        self.weights = [module["weight"] for module in modules]

    def split(self, array: mx.array, axis: int = -1) -> list[mx.array]:
        """Each layer's part."""
        return list(mx.split(array, self.edges, axis=axis))

    def stands_for(self, modules: Sequence[nn.Module]) -> bool:
        """Whether these are the joined layers, unchanged: an adapter may have taken their place."""
        return all(
            module is own and module["weight"] is weight
            for module, own, weight in zip(modules, self.modules, self.weights, strict=True)
        )


def project(joined: Joined | None, modules: Sequence[Any], *args: Any, **options: Any) -> Any:
    """Each module's output for the same arguments, in one product where they are joined."""
    if joined is not None and joined.stands_for(modules):
        return joined.split(joined.whole(*args, **options))
    return [module(*args, **options) for module in modules]


def join(*modules: nn.Module) -> Joined | None:
    """The modules joined, or None where they differ in kind or quantization."""
    first = modules[0]
    alike = all(
        type(module) is type(first)
        and arrays(module).keys() == arrays(first).keys()
        and all(getattr(module, k, None) == getattr(first, k, None) for k in QUANTIZATION)
        and module["weight"].dtype == first["weight"].dtype
        for module in modules
    )
    return Joined(modules) if alike and "weight" in first else None


def join_all(model: nn.Module) -> None:
    """Join what can be joined in every layer of a loaded model, changed in place."""
    for module in model.modules():
        if hasattr(module, "join"):
            module.join()


QUANTIZATION = ("bits", "group_size", "mode")


def arrays(module: nn.Module) -> dict[str, mx.array]:
    """A layer's own arrays."""
    return {name: value for name, value in module.items() if isinstance(value, mx.array)}
