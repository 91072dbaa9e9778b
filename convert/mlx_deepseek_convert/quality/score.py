"""KL divergence, top-1 agreement and perplexity of a converted model against its source."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.quality.layerwise import LayerwiseModel, Progress, no_progress
from mlx_deepseek_convert.quality.texts import ScoredBatch

POSITIONS_AT_ONCE = 512  # each has a row of logits of both models


@dataclass(frozen=True)
class Quality:
    """Means over `tokens` scored positions; `kl` in nats, from the source's distribution."""

    tokens: int
    kl: float
    top1: float
    perplexity: float
    source_perplexity: float


def compare(
    source: LayerwiseModel,
    converted: LayerwiseModel,
    batches: Sequence[ScoredBatch],
    progress: Progress = no_progress,
) -> Quality:
    """Run both checkpoints in layer order over `batches`, and compare their next tokens.

    Raises:
        CheckpointError: a folder is damaged, or the models do not have the same vocabulary.
    """
    whole = len(source.layers) + len(converted.layers)

    def advance(before: int) -> Progress:
        return lambda done, _: progress(before + done, whole)

    truth = source.hidden(batches, advance(0))
    guess = converted.hidden(batches, advance(len(source.layers)))
    with source.part(source.head) as our_head, converted.part(converted.head) as their_head:
        sums = [
            tally(source.project(our_head, ours), converted.project(their_head, theirs), tokens)
            for batch, *states in zip(batches, truth, guess, strict=True)
            for ours, theirs, tokens in scored_rows(batch, *states)
        ]
    return summarise(sums)


def scored_rows(batch: ScoredBatch, *states: mx.array) -> Iterator[tuple[mx.array, ...]]:
    """Hidden states [n, D] of the positions that count, and the tokens [n] that follow them."""
    place = np.flatnonzero(np.array(batch.scored))
    for start in range(0, len(place), POSITIONS_AT_ONCE):
        some = mx.array(place[start : start + POSITIONS_AT_ONCE])
        rows = (state[:, :-1].reshape(-1, state.shape[-1])[some] for state in states)
        yield *rows, batch.ids[:, 1:].flatten()[some]


def tally(truth: mx.array, guess: mx.array, tokens: mx.array) -> mx.array:
    """Sums over logits [n, vocab]: positions, KL, agreements, both negative log likelihoods.

    Raises:
        CheckpointError: the vocabularies differ.
    """
    if truth.shape != guess.shape:
        raise CheckpointError(
            f"The models have {truth.shape[-1]} and {guess.shape[-1]} tokens. Expected a model and "
            "its conversion."
        )
    p, q = (logits - mx.logsumexp(logits, axis=-1, keepdims=True) for logits in (truth, guess))
    kl = (mx.exp(p) * (p - q)).sum()
    agreed = (p.argmax(axis=-1) == q.argmax(axis=-1)).sum()
    losses = (-mx.take_along_axis(x, tokens[:, None], axis=-1).sum() for x in (q, p))
    sums = mx.stack([mx.array(len(tokens)), kl, agreed, *losses])
    mx.eval(sums)
    return sums


def summarise(sums: Sequence[mx.array]) -> Quality:
    """Means of what `tally` summed."""
    totals = np.sum([np.array(part, float) for part in sums], axis=0)
    tokens, kl, agreed, loss, source_loss = map(float, totals)
    return Quality(
        tokens=int(tokens),
        kl=kl / tokens,
        top1=agreed / tokens,
        perplexity=math.exp(loss / tokens),
        source_perplexity=math.exp(source_loss / tokens),
    )
