"""A recipe for a number of bytes: bits go where they lower the divergence most (a knapsack)."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.runtime.memory import machine_memory_bytes
from mlx_deepseek.runtime.units import in_words, parse_size
from mlx_deepseek_convert.planning.plan import draft
from mlx_deepseek_convert.planning.recipes import NEVER, Recipe
from mlx_deepseek_convert.quality.costs import measured_once, nano_costs
from mlx_deepseek_convert.quality.layerwise import Progress, no_progress, part_of
from mlx_deepseek_convert.quality.report import Wanted
from mlx_deepseek_convert.quality.sensitivity import BITS, STATES_BYTES, Costs
from mlx_deepseek_convert.quality.tensor_classes import MTP, TensorClass, class_of, pattern_of
from mlx_deepseek_convert.source.checkpoint import Source
from mlx_deepseek_convert.source.formats import Setting

MTP_BITS = 4  # a wrong guess of an MTP layer costs time, not quality

Sizes = Mapping[TensorClass, Mapping[int, int]]  # bytes at each number of bits


def fitted(source: Source, size: str, wanted: Wanted, progress: Progress = no_progress) -> Recipe:
    """The recipe for at most `size` (as "96GB") of weights, MTP layers included.

    What bits are worth is measured on `wanted` if the source lies here and a layer of it fits into
    memory; else nano's costs, which come with the package, stand in.

    Raises:
        ConfigError: no size, or nothing fits into it.
    """
    budget_bytes = parse_size(size)
    takes, fixed = sizes(source)
    if is_measurable(source):
        costs, origin = measured_once(source, wanted, progress), "measured"
    else:
        costs, origin = nano_costs(takes), "nano's costs"
    chosen = choose(takes, costs, budget_bytes - fixed)
    return recipe(f"fit-{size}", f"{describe(chosen)} ({origin})", chosen)


def is_measurable(source: Source) -> bool:
    """Whether a source is on this machine, and its memory holds what measuring takes."""
    return source.remote is None and measuring_bytes(source) < machine_memory_bytes()


def measuring_bytes(source: Source) -> int:
    """The largest layer in float32, as it is read, exact and quantized, and hidden states."""
    return 3 * _largest_part(source) + 2 * STATES_BYTES


def _largest_part(source: Source) -> int:
    """Bytes in float32 of what has to be in memory at a time: a layer, or the embedding."""
    parts: Counter[str] = Counter()
    for output in draft(source, "bf16").outputs:
        parts[part_of(output.name)] += 4 * math.prod(output.shape)
    return max(parts.values())


def sizes(source: Source) -> tuple[Sizes, int]:
    """Bytes of every class at every number of bits, and of what is never quantized."""
    found: dict[TensorClass, dict[int, int]] = defaultdict(lambda: dict.fromkeys(BITS, 0))
    fixed = 0
    for bits in BITS:
        fixed = 0
        for output in draft(source, Recipe("", "", NEVER, NEVER, Setting(bits))).outputs:
            member = class_of(output.name.removesuffix(".weight"))
            if member is None or output.setting is None:
                fixed += output.nbytes
            else:
                found[member][bits] += output.nbytes
    if MTP in found:
        fixed += found.pop(MTP)[MTP_BITS]
    return found, fixed


def choose(sizes: Sizes, costs: Costs, budget_bytes: int) -> dict[TensorClass, int]:
    """Bits per class: from the fewest up, each step the one that saves most nats per byte.

    Raises:
        ConfigError: even the fewest bits take more.
    """
    losses = {member: _falling(costs[member]) for member in sizes}
    chosen = dict.fromkeys(sizes, BITS[0])
    room = budget_bytes - sum(sizes[member][BITS[0]] for member in sizes)
    if room < 0:
        raise ConfigError(
            f"Does not fit: {BITS[0]} bits everywhere take {in_words(-room)} more. Expected a "
            "larger budget, or a smaller model."
        )
    while step := _best_step(chosen, losses, sizes, room):
        member, bits = step
        room -= sizes[member][bits] - sizes[member][chosen[member]]
        chosen[member] = bits
    return chosen


def _best_step(
    chosen: Mapping[TensorClass, int],
    losses: Mapping[TensorClass, Mapping[int, float]],
    sizes: Sizes,
    room: int,
) -> tuple[TensorClass, int] | None:
    best, step = 0.0, None
    for member, now in chosen.items():
        for bits in BITS:
            extra = sizes[member][bits] - sizes[member][now]
            if 0 < extra <= room and losses[member][now] - losses[member][bits] > best * extra:
                best, step = (losses[member][now] - losses[member][bits]) / extra, (member, bits)
    return step


def recipe(name: str, summary: str, chosen: Mapping[TensorClass, int]) -> Recipe:
    """The chosen bits as an explicit recipe."""
    table = tuple((pattern_of(member), Setting(bits)) for member, bits in chosen.items())
    table = (*NEVER, (pattern_of(MTP), Setting(MTP_BITS)), *table)
    return Recipe(name, summary, table, table, Setting(MTP_BITS))


def describe(chosen: Mapping[TensorClass, int]) -> str:
    """The chosen bits in words, such as "head 8 bits; routed experts: layers 1-2 3 bits"."""
    kinds: dict[str, dict[int, list[int]]] = {}
    for member, bits in chosen.items():
        layers = kinds.setdefault(member.kind, {}).setdefault(bits, [])
        layers += [] if member.layer is None else [member.layer]
    return "; ".join(
        f"{kind} " + ", ".join(_bits_of(bits, layers) for bits, layers in sorted(found.items()))
        for kind, found in kinds.items()
    )


def _bits_of(bits: int, layers: list[int]) -> str:
    if not layers:
        return f"{bits} bits"
    layers = sorted(layers)
    ends = [n for n in layers if n + 1 not in layers]
    starts = [n for n in layers if n - 1 not in layers]
    spans = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    return f"{bits} bits in layers {' '.join(spans)}"


def _falling(costs: Mapping[int, float]) -> dict[int, float]:
    """Costs that no more bits exceed: measured ones are noisy where they are small."""
    return {bits: max(cost for b, cost in costs.items() if b >= bits) for bits in costs}
