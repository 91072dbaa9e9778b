"""How fast a model will be whose routed experts are partly on disk, from sizes and speeds alone.

A token waits for the bytes that it takes from memory and for those that it takes from the disk:

    seconds = (dense + K experts of each layer) / memory speed + missing experts / disk speed

How many are missing depends on what is written. If all experts are chosen alike, the share in
memory is found there: the least. The most is what a least-recently-used cache finds where choices
are as uneven as Zipf's law, by Che's approximation (IEEE JSAC 20 (7), 2002).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlx_deepseek.models.expert_memory import ExpertLayer, ModelMemory

PROMPT_TOKENS = 2048  # read at a time
ZIPF = 1.0  # exponent of uneven choices


@dataclass(frozen=True)
class Speeds:
    """Bytes per second: weights computed with, for one token and for a prompt's; and the disk."""

    memory: float
    disk: float
    prompt: float | None = None  # bytes times tokens; None: no limit but the disk


@dataclass(frozen=True)
class Forecast:
    """Tokens per second, each as the least and the most; `share` of experts are in memory."""

    share: float
    hit_rate: tuple[float, float]
    disk_bytes_per_token: tuple[float, float]  # the most first, as it goes with the least speed
    decode_tps: tuple[float, float]
    prefill_tps: float


def forecast(
    model: ModelMemory,
    capacities: Mapping[str, int],
    speeds: Speeds,
    prompt_tokens: int = PROMPT_TOKENS,
) -> Forecast:
    """What to expect with so many experts of each layer, by path, in memory; all, if not named."""
    held = {path: capacities.get(path, one.experts) for path, one in model.decoding.items()}
    layers = [(one, held[path]) for path, one in model.decoding.items()]
    experts = sum(one.experts for one, _ in layers)
    from_memory = model.dense_read_bytes + sum(
        one.per_token * one.expert_bytes for one, _ in layers
    )
    rates = [[hit_rate(one, count, s) for one, count in layers] for s in (0.0, ZIPF)]
    chosen = np.array([one.per_token * one.file_bytes for one, _ in layers])
    missed = [float(chosen @ (1 - np.array(hits))) for hits in rates]
    seconds = [from_memory / speeds.memory + nbytes / speeds.disk for nbytes in missed]
    return Forecast(
        share=sum(count for _, count in layers) / experts if experts else 1.0,
        hit_rate=(_mean(rates[0]), _mean(rates[1])),
        disk_bytes_per_token=(missed[0], missed[1]),
        decode_tps=(1 / seconds[0], 1 / seconds[1]),
        prefill_tps=prompt_tokens / prefill_s(model, held, speeds, from_memory, prompt_tokens),
    )


def prefill_s(
    model: ModelMemory, held: Mapping[str, int], speeds: Speeds, token_bytes: float, tokens: int
) -> float:
    """Seconds for so many tokens of a prompt, if choices are alike: each expert is read once.

    The next ones are read while one computes, so the slower of the two counts.
    """
    from_disk = sum(
        used(one, tokens) * (1 - held[path] / one.experts) * one.file_bytes
        for path, one in model.decoding.items()
    )
    compute = 0.0 if speeds.prompt is None else token_bytes * tokens / speeds.prompt
    whole = model.dense_read_bytes + sum(one.nbytes for one in model.decoding.values())
    return max(from_disk / speeds.disk, compute, whole / speeds.memory)


def used(layer: ExpertLayer, tokens: int) -> float:
    """Experts of a layer that `tokens` choose together, if all are chosen alike."""
    return layer.experts * (1 - (1 - layer.per_token / layer.experts) ** tokens)


def hit_rate(layer: ExpertLayer, capacity: int, zipf: float) -> float:
    """Share of choices that a least-recently-used cache of `capacity` experts finds.

    Expert i is chosen in proportion to i ** -zipf (0: all alike), each at most once per token.
    Che's approximation: it is there if it was chosen within the time in which `capacity` were.
    """
    if capacity >= layer.experts:
        return 1.0
    rates = np.arange(1, layer.experts + 1, dtype=float) ** -zipf
    chosen = _seen(rates, layer.per_token)  # by one token
    return float(np.sum(chosen * _seen(rates, capacity)) / layer.per_token)


def _seen(rates: np.ndarray, count: float) -> np.ndarray:
    """Chance of each thing to come at least once in the time in which `count` different ones do."""
    low, high = 0.0, 1.0
    while np.sum(-np.expm1(-rates * high)) < count:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        early = np.sum(-np.expm1(-rates * middle)) < count
        low, high = (middle, high) if early else (low, middle)
    return -np.expm1(-rates * low)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 1.0
