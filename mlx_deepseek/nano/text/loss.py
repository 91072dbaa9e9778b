"""nano's training loss: next token, plus the MTP layer's tokens after it (2412.19437 §2.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.nano.training.fast_math import cross_entropy


@dataclass(frozen=True)
class BatchResult:
    """What one batch shows: losses per token, and replies that were right token by token [B].

    `mtp_loss` is the mean of all depths', `mtp_accuracy` [depth] of each after right ones.
    """

    loss: mx.array
    mtp_loss: mx.array
    right: mx.array
    mtp_accuracy: mx.array


def measure(
    model: CausalLM, ids: mx.array, prompt: mx.array, total: mx.array, depth: int = 1
) -> BatchResult:
    """Teacher-forced losses on the replies of ids [B, L], with `depth` tokens drafted everywhere.

    `prompt` and `total` [B] are the lengths of each row's prompt and of the row without padding. A
    row is right when the most likely token is the true one everywhere: greedy decoding would have
    written exactly this reply.
    """
    hidden = model.hidden(ids)
    place = mx.arange(1, ids.shape[1])
    replies = (place >= prompt[:, None]) & (place < total[:, None])  # [B, L - 1]
    loss, hits = _score(model.head(hidden[:, :-1]), ids[:, 1:], replies)
    right = (hits | ~replies).all(axis=-1)
    losses, accuracies = [], []
    drafted = draft_logits(model, hidden[:, :-2], ids[:, 1:-1], depth) if depth else []
    for i, logits in enumerate(drafted, 1):
        counted = replies[:, i:]
        mtp_loss, mtp_hits = _score(logits, ids[:, i + 1 :], counted)
        losses.append(mtp_loss)
        accuracies.append((mtp_hits & counted).sum() / counted.sum())
    mtp_loss = sum(losses, mx.zeros(())) / max(depth, 1)
    accuracy = mx.stack(accuracies) if depth else mx.zeros((0,))
    return BatchResult(loss, mtp_loss, right, accuracy)


def draft_logits(
    model: CausalLM, hidden: mx.array, next_ids: mx.array, depth: int
) -> list[mx.array]:
    """Logits of a first, second, ... draft from every place of hidden [B, L, D] at once.

    Those of depth d are [B, L - d + 1, vocab]: of places d - 1 and on, as a drafter computes them
    that starts d - 1 places before and reads its own states. `next_ids` [B, L] are the tokens that
    follow. The main embedding and head take the place of the layer's copies.
    """
    layer, length = model.mtp[0], hidden.shape[1]
    logits, rows = [], []
    for number in range(1, depth + 1):
        embedded = layer.enorm(model.model.embed_tokens(next_ids[:, number - 1 :]))
        joined = mx.concatenate([embedded, layer.hnorm(hidden)], axis=-1)
        cache = DraftRows(number - 1, rows)
        state = layer(layer.eh_proj(joined), chain_mask(length, number), cache)
        logits.append(model.head(layer.shared_head.norm(state)))
        rows, hidden = cache.rows, state[:, :-1]
    return logits


class DraftRows:
    """Latent rows of one depth behind those of the depths before, as a cache with gradients."""

    def __init__(self, offset: int, rows: Sequence[mx.array]):
        self.offset = offset  # place of the first row of this depth
        self.rows = list(rows)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append rows [B, 1, L, R + P]; all so far, and `values`, which are of width 0."""
        self.rows.append(keys)
        return mx.concatenate(self.rows, axis=2), values


def chain_mask(length: int, depth: int) -> mx.array:
    """What drafts of one depth see of the rows of all depths so far, [1, 1, L - depth + 1, S].

    The draft at place p started at p - depth + 1: it sees the first depth up to there, and of each
    later depth the one row that this start led to.
    """
    start = mx.arange(length - depth + 1)[:, None]
    seen = [mx.arange(length) <= start]
    seen += [mx.arange(later, length) == start + later for later in range(1, depth)]
    return mx.concatenate(seen, axis=1)[None, None]


def balance(bias: mx.array, load: mx.array, step: float | mx.array) -> mx.array:
    """The correction bias after the auxiliary-loss-free rule (2412.19437 §2.1.2).

    Experts with less than the mean load become likelier by `step`, busier ones less likely.
    """
    return bias + step * mx.sign(load.mean() - load)


def _score(logits: mx.array, targets: mx.array, counted: mx.array) -> tuple[mx.array, mx.array]:
    losses = cross_entropy(logits, targets) * counted
    return losses.sum() / counted.sum(), mx.argmax(logits, axis=-1) == targets
