"""What quantizing one class of tensors costs: the KL divergence when all else stays exact.

One pass over the layers carries all variants of the model along, each with one class quantized to
some bits, so that a model larger than memory can be measured. Where the variants' hidden states
would take too much, each class has few bits of them; what others cost follows from how much they
change the layers' outputs, since divergence grows with the square of a small change.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_deepseek_convert.planning.recipes import fit
from mlx_deepseek_convert.quality.layerwise import (
    LayerwiseModel,
    Progress,
    evaluated,
    get_submodule,
    no_progress,
)
from mlx_deepseek_convert.quality.score import scored_rows, summarise, tally
from mlx_deepseek_convert.quality.states import State, run_layer
from mlx_deepseek_convert.quality.tensor_classes import MTP, TensorClass, class_of
from mlx_deepseek_convert.quality.texts import ScoredBatch
from mlx_deepseek_convert.source.formats import Setting

BITS = (2, 3, 4, 5, 6, 8)
STATES_BYTES = 1 << 30  # hidden states of all variants
# What is carried along where BITS is too much, from the best choice to the last.
ANCHORS = (BITS, (2, 4), (4,))
TINY = 1e-12  # where nothing changes

Costs = Mapping[TensorClass, Mapping[int, float]]  # nats per token at each number of bits
States = list[State]


def measure(
    folder: Path,
    batches: Sequence[ScoredBatch],
    progress: Progress = no_progress,
    *,
    states_bytes: int = STATES_BYTES,
) -> Costs:
    """The cost of each class of the checkpoint in `folder`, a layer of it in memory at a time.

    As many of `batches` are used as their variants fit into `states_bytes`, one at least.

    Raises:
        CheckpointError, ConfigError: as converting the folder would.
    """
    stream = LayerwiseModel(folder, unquantized=True)
    members = classes(stream.model)
    width = get_submodule(stream.model, stream.embedding).weight.shape[-1]
    width *= stream.hyper.copies if stream.hyper is not None else 1
    bits, batches = affordable(batches, states_bytes // (4 * width * len(members)))
    variants = VariantStates(stream, members, bits, batches)
    variants.embed()
    for done, path in enumerate(stream.layers):
        variants.layer(path)
        progress(done + 1, len(stream.layers))
    variants.finish()
    return variants.costs()


def affordable(
    batches: Sequence[ScoredBatch], tokens: int
) -> tuple[Sequence[int], Sequence[ScoredBatch]]:
    """Which bits to carry along, and for which batches, if one of them may have so many tokens."""
    wanted = sum(batch.ids.size for batch in batches)
    for anchors in ANCHORS[:-1]:
        if len(anchors) * wanted <= tokens:
            return anchors, batches
    chosen = [batches[0]]
    for batch in batches[1:]:
        if sum(one.ids.size for one in (*chosen, batch)) <= tokens:
            chosen.append(batch)
    return ANCHORS[-1], chosen


def classes(model: Any) -> Mapping[TensorClass, list[str]]:
    """The paths of the modules of each class that a loss can depend on."""
    found: dict[TensorClass, list[str]] = defaultdict(list)
    for path, module in model.named_modules():
        member = class_of(path) if hasattr(module, "to_quantized") else None
        if member is not None and member != MTP:
            found[member].append(path)
    return found


@dataclass
class Variant:
    """The model with `member` in `bits`; `states` None: no layer has differed yet."""

    member: TensorClass
    bits: int
    states: States | None = None
    sums: list[mx.array] = field(default_factory=list)


class VariantStates:
    """The exact model's and all variants' hidden states on their way through the layers."""

    def __init__(
        self,
        stream: LayerwiseModel,
        members: Mapping[TensorClass, list[str]],
        carried: Sequence[int],
        batches: Sequence[ScoredBatch],
    ):
        self.stream, self.members, self.batches = stream, members, batches
        self.exact: States = []
        self.variants: dict[TensorClass, dict[int, Variant]] = {}
        for member, paths in members.items():
            chosen = BITS if paths == [stream.head] else carried  # nothing to carry for the head
            self.variants[member] = {bits: Variant(member, bits) for bits in chosen}
        # How much of the layers' outputs each class changes, as a relative square.
        self.changes: dict[tuple[TensorClass, int], float] = defaultdict(float)

    def embed(self) -> None:
        """From tokens to what the first layer gets; of the embedding, the rows that they take."""
        exact = self.stream.embed(self.batches)
        self.exact = self.stream.begin(self.batches, exact)
        with self.stream.part(self.stream.embedding) as embedding:
            for member, _ in self._inside(self.stream.embedding):
                for bits in BITS:
                    pairs = zip(self.batches, exact, strict=True)
                    words = evaluated([_words(embedding, *pair, bits) for pair in pairs])
                    changed = self.stream.begin(self.batches, words)
                    self.changes[member, bits] += _change(changed, self.exact)
                    if bits in self.variants[member]:
                        self.variants[member][bits].states = changed

    def layer(self, path: str) -> None:
        """Everything through one layer, with the weights of each variant."""
        with self.stream.part(path) as layer:
            behind = run_layer(layer, self.exact)
            inside = dict(self._inside(path))
            for member, modules in inside.items():
                for bits in BITS:
                    with quantized(modules, bits):
                        self._advance(member, bits, layer, behind)
            for variant in self._all():
                if variant.member not in inside and variant.states is not None:
                    variant.states = run_layer(layer, variant.states)
            self.exact = behind

    def finish(self) -> None:
        """Behind the last layer: logits and divergences."""
        exact = self.stream.finish(self.exact)
        guesses = [
            exact if variant.states is None else self.stream.finish(variant.states)
            for variant in self._all()
        ]
        with self.stream.part(self.stream.head) as head:
            inside = dict(self._inside(self.stream.head))
            for place, batch in enumerate(self.batches):
                states = [exact[place], *(one[place] for one in guesses)]
                for truth, *rows, tokens in scored_rows(batch, *states):
                    expected = evaluated([self.stream.project(head, truth)])[0]
                    for variant, guess in zip(self._all(), rows, strict=True):
                        with quantized(inside.get(variant.member, ()), variant.bits):
                            logits = self.stream.project(head, guess)
                            variant.sums.append(tally(expected, logits, tokens))

    def costs(self) -> Costs:
        """Nats per token of each class at each number of bits."""
        return {
            member: {bits: self._cost(member, bits) for bits in BITS} for member in self.members
        }

    def _cost(self, member: TensorClass, bits: int) -> float:
        """As measured; else by how much the class changes: a power law between two, or a square."""
        measured = {n: summarise(v.sums).kl for n, v in self.variants[member].items()}
        if bits in measured:
            return measured[bits]
        change = {n: self.changes[member, n] or TINY for n in BITS}
        fewer = max((n for n in measured if n < bits), default=0)
        more = min((n for n in measured if n > bits), default=0)
        slope = 1.0
        if fewer and more and change[fewer] > change[more]:
            fall = max(measured[fewer], TINY) / max(measured[more], TINY)
            slope = math.log(fall) / math.log(change[fewer] / change[more])
        near = more or fewer
        return measured[near] * (change[bits] / change[near]) ** slope

    def _all(self) -> list[Variant]:
        return [variant for some in self.variants.values() for variant in some.values()]

    def _inside(self, part: str) -> Iterator[tuple[TensorClass, list[Any]]]:
        """The classes that have modules in a part, and these."""
        for member, paths in self.members.items():
            inner = [path for path in paths if path == part or path.startswith(f"{part}.")]
            if inner:
                yield member, [get_submodule(self.stream.model, path) for path in inner]

    def _advance(self, member: TensorClass, bits: int, layer: Any, behind: States) -> None:
        """A class through a layer that has it in `bits` now."""
        variant = self.variants[member].get(bits)
        if variant is None or variant.states is None or self._estimates(member):
            changed = run_layer(layer, self.exact)
            self.changes[member, bits] += _change(changed, behind)
            if variant is not None and variant.states is None:
                variant.states = changed
                return
        if variant is not None:
            variant.states = run_layer(layer, variant.states or self.exact)

    def _estimates(self, member: TensorClass) -> bool:
        return len(self.variants[member]) < len(BITS)


def _change(changed: States, exact: States) -> float:
    """The relative square of a change."""
    pairs = ((a.hidden, b.hidden) for a, b in zip(changed, exact, strict=True))
    squares = [mx.stack([((a - b) ** 2).sum(), (b**2).sum()]) for a, b in pairs]
    part, whole = np.sum([np.array(both, float) for both in squares], axis=0)
    return float(part / whole)


def _words(embedding: Any, batch: ScoredBatch, exact: mx.array, bits: int) -> mx.array:
    """Embeddings of a batch in `bits`, with pictures' features as they are."""
    words = stored(embedding(mx.maximum(batch.ids, 0)), bits).astype(exact.dtype)
    return mx.where(batch.ids[..., None] < 0, exact, words)


@contextmanager
def quantized(modules: Sequence[Any], bits: int) -> Iterator[None]:
    """Modules with their weights as `bits` would store them."""
    originals = [module.weight for module in modules]
    for module, weight in zip(modules, originals, strict=True):
        module.weight = stored(weight, bits)
    try:
        yield
    finally:
        for module, weight in zip(modules, originals, strict=True):
            module.weight = weight


def stored(weight: mx.array, bits: int) -> mx.array:
    """The weight as `bits` would store it; as it is where no group size divides its rows."""
    setting = fit(Setting(bits), weight.shape)
    if setting is None:
        return weight
    size = setting.group_size
    codes, *scales = mx.quantize(weight.astype(mx.bfloat16), group_size=size, bits=bits)
    scale, bias = (part.astype(mx.float32) for part in scales)
    value = mx.dequantize(codes, scale, bias, group_size=size, bits=bits).astype(weight.dtype)
    mx.eval(value)
    return value
