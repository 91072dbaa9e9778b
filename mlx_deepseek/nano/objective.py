"""nano's training loss: next token, plus the MTP layer's token after next (2412.19437 §2.2)."""

from dataclasses import dataclass

import mlx.core as mx

from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.nano.fast_math import cross_entropy


@dataclass(frozen=True)
class Outcome:
    """What one batch shows: losses per token, and replies that were right token by token [B]."""

    loss: mx.array
    mtp_loss: mx.array
    right: mx.array
    mtp_accuracy: mx.array


def measure(model: CausalLM, ids: mx.array, prompt: mx.array, total: mx.array) -> Outcome:
    """Teacher-forced losses on the replies of ids [B, L].

    `prompt` and `total` [B] are the lengths of each row's prompt and of the row without padding. A
    row is right when the most likely token is the true one everywhere: greedy decoding would have
    written exactly this reply.
    """
    hidden = model.hidden(ids)
    place = mx.arange(1, ids.shape[1])
    replies = (place >= prompt[:, None]) & (place < total[:, None])  # [B, L - 1]
    loss, hits = _score(model.head(hidden[:, :-1]), ids[:, 1:], replies)
    ahead = mtp_head(model, hidden[:, :-2], ids[:, 1:-1])
    mtp_loss, mtp_hits = _score(ahead, ids[:, 2:], replies[:, 1:])
    right = (hits | ~replies).all(axis=-1)
    mtp_accuracy = (mtp_hits & replies[:, 1:]).sum() / replies[:, 1:].sum()
    return Outcome(loss, mtp_loss, right, mtp_accuracy)


def mtp_head(model: CausalLM, hidden: mx.array, next_ids: mx.array) -> mx.array:
    """MTP logits [B, L, vocab] with the main embedding and head in the place of its copies."""
    layer = model.mtp[0]
    embedded = layer.enorm(model.model.embed_tokens(next_ids))
    joined = mx.concatenate([embedded, layer.hnorm(hidden)], axis=-1)
    return model.head(layer.shared_head.norm(layer(layer.eh_proj(joined), "causal")))


def balance(bias: mx.array, load: mx.array, step: float | mx.array) -> mx.array:
    """The correction bias after the auxiliary-loss-free rule (2412.19437 §2.1.2).

    Experts with less than the mean load become likelier by `step`, busier ones less likely.
    """
    return bias + step * mx.sign(load.mean() - load)


def _score(logits: mx.array, targets: mx.array, counted: mx.array) -> tuple[mx.array, mx.array]:
    losses = cross_entropy(logits, targets) * counted
    return losses.sum() / counted.sum(), mx.argmax(logits, axis=-1) == targets
