"""Who holds what: a pure function of a model's bytes and of the machines' memory."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mlx_deepseek.errors import ConfigError, MemoryLimitError
from mlx_deepseek.models.expert_memory import ExpertLayer, ModelMemory, capacities
from mlx_deepseek.runtime.units import in_words

MODES = ("pipeline", "tensor")
# Halvings of the interval in which the share of memory is looked for that all machines fill.
SEARCH_STEPS = 50


@dataclass(frozen=True)
class Machine:
    """A machine by its name, and what it has for weights and context."""

    name: str
    usable_bytes: int


@dataclass(frozen=True)
class LayerBytes:
    """A decoder layer: bytes of weights that every token needs, of context, of routed experts.

    `divided` bytes, of the dense ones, can be divided among machines, as all experts can. Unless
    it is `apart`, it reads what the layer before has left, beside the state, on the same machine.
    """

    dense: int
    divided: int = 0
    context: int = 0
    experts: Mapping[str, ExpertLayer] = field(default_factory=dict)
    apart: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes with all experts in memory."""
        return self.dense + self.context + sum(one.nbytes for one in self.experts.values())


@dataclass(frozen=True)
class ModelBytes:
    """A model by its layers; `base` is all else: embedding, head, encoders, drafting layers.

    A token reads `base_read` of that.
    """

    base: int
    base_read: int
    layers: tuple[LayerBytes, ...]

    @property
    def starts(self) -> list[int]:
        """The layers with which a machine's may begin."""
        return [i for i, layer in enumerate(self.layers) if i == 0 or layer.apart]


@dataclass(frozen=True)
class Part:
    """What one machine holds: layers from `first` to before `last`, in so many bytes.

    Of layers in `capacities`, by their experts' path, only so many experts are in memory.
    """

    first: int
    last: int
    nbytes: int
    capacities: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """One part for each rank. In mode `tensor` each has a share of all layers."""

    mode: str
    parts: tuple[Part, ...]

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Plan":
        """The plan that another machine has made."""
        return cls(facts["mode"], tuple(Part(**part) for part in facts["parts"]))


def plan(model: ModelBytes, machines: Sequence[Machine], mode: str = "pipeline") -> Plan:
    """How a model is divided among machines, the first of which is rank 0.

    Raises:
        MemoryLimitError: together they have too little memory, even with experts on disk.
        ConfigError: another mode, or more machines than layers.
    """
    if mode not in MODES:
        raise ConfigError(f"The split is {mode!r:.60}. Expected {' or '.join(MODES)}.")
    if mode == "pipeline" and len(machines) > len(model.starts):
        apart = "" if len(model.starts) == len(model.layers) else " groups of"
        raise ConfigError(
            f"There are {len(machines)} machines for {len(model.starts)}{apart} layers. Expected "
            "one for each machine; leave some out of the hosts file."
        )
    return (_pipeline if mode == "pipeline" else _tensor)(model, machines)


def _pipeline(model: ModelBytes, machines: Sequence[Machine]) -> Plan:
    """Layers one after the other, so that each machine's memory is filled to the same share."""
    total = model.base + sum(layer.nbytes for layer in model.layers)
    low, high = 0.0, 1 + total / max(1, min(machine.usable_bytes for machine in machines))
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        fits = _cuts(model, machines, middle) is not None
        low, high = (low, middle) if fits else (middle, high)
    edges = _cuts(model, machines, high)
    assert edges is not None, "the highest share holds the whole model"
    parts = []
    for rank, machine in enumerate(machines):
        first, last = edges[rank], edges[rank + 1]
        memory = part_memory(model, first, last, with_base=rank == 0)
        held = capacities(memory, machine.usable_bytes)
        if held is None:
            raise _too_large(machine, memory.least_bytes, f"layers {first} to {last - 1}")
        parts.append(Part(first, last, memory.held(held), held))
    return Plan("pipeline", tuple(parts))


def _cuts(model: ModelBytes, machines: Sequence[Machine], share: float) -> list[int] | None:
    """Where each machine's layers begin if all fill a `share` of their memory; None: too little.

    Each takes one layer at least, with those that cannot be apart from it, and leaves one for each
    that follows.
    """
    starts = [*model.starts, len(model.layers)]
    edges, used = [0], float(model.base)  # numbers of `starts`
    for rank, machine in enumerate(machines):
        first = last = edges[-1]
        most = len(starts) - 1 - (len(machines) - rank - 1)
        while last < most:
            used += sum(one.nbytes for one in model.layers[starts[last] : starts[last + 1]])
            if used > share * machine.usable_bytes:
                break
            last += 1
        if last == first:
            return None
        edges.append(last)
        used = 0.0
    return [starts[edge] for edge in edges] if edges[-1] == len(starts) - 1 else None


def part_memory(model: ModelBytes, first: int, last: int, *, with_base: bool) -> ModelMemory:
    """Some layers by themselves, and all else with them on rank 0."""
    own = model.layers[first:last]
    read = sum(layer.dense for layer in own) + (model.base_read if with_base else 0)
    unread = sum(layer.context for layer in own)
    unread += model.base - model.base_read if with_base else 0
    experts = {path: one for layer in own for path, one in layer.experts.items()}
    return ModelMemory(read + unread, read, experts)


def _tensor(model: ModelBytes, machines: Sequence[Machine]) -> Plan:
    """The same share of every layer for each; what cannot be divided is on all of them."""
    parts = []
    for rank, machine in enumerate(machines):
        nbytes = model.base if rank == 0 else 0
        for layer in model.layers:
            divided = layer.divided + sum(one.nbytes for one in layer.experts.values())
            nbytes += layer.dense - layer.divided + layer.context + -(-divided // len(machines))
        if nbytes > machine.usable_bytes:
            raise _too_large(machine, nbytes, "its share of every layer")
        parts.append(Part(0, len(model.layers), nbytes))
    return Plan("tensor", tuple(parts))


def _too_large(machine: Machine, nbytes: int, what: str) -> MemoryLimitError:
    return MemoryLimitError(
        f"{machine.name}: {what} take {in_words(nbytes)} in memory. Expected at most "
        f"{in_words(machine.usable_bytes)}; close other programs, add a machine to the hosts "
        "file, convert with fewer bits, or choose a smaller model."
    )
