"""How fast a model on several machines will be: from who holds what, and what speeds they have.

A token passes one machine after the other, so their times add up, and the state of width D goes
over as many links as there are machines:

    pipeline: seconds = sum of bytes of a part / its memory speed + links * (latency + D / link)
    tensor:   seconds = the longest of bytes of a share / memory speed
                        + 2 sums per layer * 2 (links - 1) * (latency + D / links / link)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_deepseek.distributed.plan import ModelBytes, Plan, part_memory
from mlx_deepseek.models.forecast import Speeds, forecast

SUMS = 2  # of each layer that all share


@dataclass(frozen=True)
class LinkSpeed:
    """Bytes per second between neighbours, and seconds that a message takes at least."""

    bytes_per_s: float
    latency_s: float

    def seconds(self, nbytes: float) -> float:
        """What one message takes."""
        return self.latency_s + nbytes / self.bytes_per_s


def decode_tps(
    model: ModelBytes, plan: Plan, speeds: Sequence[Speeds], link: LinkSpeed, state_bytes: int
) -> tuple[float, float]:
    """Tokens per second of one conversation, the least and the most (as experts' hit rates are).

    `speeds` are each machine's by rank, `state_bytes` those of one token between two layers.
    """
    size = len(plan.parts)
    least = most = link_seconds(plan.mode, size, len(model.layers), link, state_bytes)
    if plan.mode == "tensor":
        least += max(
            _share_bytes(model, size, rank) / one.memory for rank, one in enumerate(speeds)
        )
        return 1 / least, 1 / least
    for rank, (part, one) in enumerate(zip(plan.parts, speeds, strict=True)):
        memory = part_memory(model, part.first, part.last, with_base=rank == 0)
        low, high = forecast(memory, part.capacities, one).decode_tps
        most, least = most + 1 / low, least + 1 / high
    return 1 / most, 1 / least


def link_seconds(mode: str, size: int, layers: int, link: LinkSpeed, state_bytes: int) -> float:
    """What a token's way between `size` machines takes."""
    if mode == "tensor":
        return SUMS * layers * 2 * (size - 1) * link.seconds(state_bytes / size)
    return size * link.seconds(state_bytes)


def _share_bytes(model: ModelBytes, size: int, rank: int) -> float:
    """Bytes that one machine reads for a token where all share every layer."""
    total = float(model.base_read if rank == 0 else 0)
    for layer in model.layers:
        chosen = sum(one.per_token * one.expert_bytes for one in layer.experts.values())
        total += layer.dense - layer.divided + (layer.divided + chosen) / size
    return total
