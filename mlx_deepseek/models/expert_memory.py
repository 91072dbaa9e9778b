"""Which experts a memory holds: a pure function of a model's bytes, for loading and forecasts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.nn as nn

from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.models.sizes import tables

# Tokens of context that a plan leaves memory for, or the model's whole window.
CONTEXT_TOKENS = 8192


@dataclass(frozen=True)
class ExpertLayer:
    """The routed experts of one layer: how many, how many a token takes, bytes of each.

    `file_bytes` are those of one expert on disk.
    """

    experts: int
    per_token: int
    expert_bytes: int
    file_bytes: int

    @property
    def nbytes(self) -> int:
        """Bytes of all of them in memory."""
        return self.experts * self.expert_bytes


@dataclass(frozen=True)
class ModelMemory:
    """Bytes of a loaded model: routed experts by the path of their module, and all else.

    A token reads `dense_read_bytes` of all else; drafting layers are not among them.
    """

    dense_bytes: int
    dense_read_bytes: int
    layers: Mapping[str, ExpertLayer]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole model."""
        return self.held({})

    @property
    def least_bytes(self) -> int:
        """Bytes with no more experts than one token takes."""
        return self.held({path: layer.per_token for path, layer in self.layers.items()})

    @property
    def decoding(self) -> dict[str, ExpertLayer]:
        """The layers that every token passes: all but those that draft."""
        return {path: one for path, one in self.layers.items() if not drafts(path)}

    def held(self, capacities: Mapping[str, int]) -> int:
        """Bytes with so many experts of each layer in memory, all of those not named."""
        return self.dense_bytes + sum(
            capacities.get(path, layer.experts) * layer.expert_bytes
            for path, layer in self.layers.items()
        )


def capacities(model: ModelMemory, usable_bytes: int) -> dict[str, int] | None:
    """Experts to hold of each layer in `usable_bytes`; {}: all; None: too few even for one token.

    Each layer gets the same share of its experts: a cache gains most by its first places.
    """
    if model.nbytes <= usable_bytes:
        return {}
    if model.least_bytes > usable_bytes:
        return None
    most = max(layer.experts for layer in model.layers.values())

    def share(count: int) -> dict[str, int]:
        """`count` of `most` experts in each layer."""
        return {
            path: max(layer.per_token, layer.experts * count // most)
            for path, layer in model.layers.items()
        }

    low, high = 0, most  # the first fits, the last does not
    while high - low > 1:
        middle = (low + high) // 2
        fits = model.held(share(middle)) <= usable_bytes
        low, high = (middle, high) if fits else (low, middle)
    return share(low)


def moe_layers(model: nn.Module) -> dict[str, Any]:
    """A model's layers with routed experts, by the path of the experts' module."""
    return {
        f"{path}.switch_mlp": module
        for path, module in model.named_modules()
        if isinstance(module, MoE)
    }


def memory_of(
    model: nn.Module, loaded: Mapping[str, int], stored: Mapping[str, int] | None = None
) -> ModelMemory:
    """A model's bytes by the names of its arrays: `loaded` in memory, `stored` in files."""
    layers: dict[str, ExpertLayer] = {}
    for path, layer in moe_layers(model).items():
        router = layer.gate.config
        sizes = [_below(path, names) // router.experts for names in (loaded, stored or loaded)]
        layers[path] = ExpertLayer(router.experts, router.per_token, *sizes)
    routed, looked_up = tuple(f"{path}." for path in layers), tables(model)
    dense = {name: size for name, size in loaded.items() if not name.startswith(routed)}
    read = {
        name: size
        for name, size in dense.items()
        if not drafts(name) and name.rpartition(".")[0] not in looked_up
    }
    return ModelMemory(sum(dense.values()), sum(read.values()), layers)


def _below(path: str, sizes: Mapping[str, int]) -> int:
    return sum(size for name, size in sizes.items() if name.startswith(f"{path}."))


def drafts(path: str) -> bool:
    """Whether a part belongs to the layers that draft tokens."""
    return path == "mtp" or path.startswith("mtp.")
