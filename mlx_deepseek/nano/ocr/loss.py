"""nano-ocr's training loss: the next character of answers, and the character in each patch."""

from typing import Any

import mlx.core as mx

from mlx_deepseek.nano.ocr.data import PAD_ID
from mlx_deepseek.nano.training.fast_math import cross_entropy
from mlx_deepseek.vision.encoders.sam import run_blocks
from mlx_deepseek.vision.tiling.layout import rows


def measure(
    model: Any,
    pictures: mx.array,
    ids: mx.array,
    prompt: mx.array,
    total: mx.array,
    patches: mx.array,
) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """Teacher-forced loss per token of the answers, and which of them are right throughout [B].

    Then the loss per patch of the characters in patches, and how many of those drawn are right.
    """
    pixels = (pictures.astype(mx.float32) / 255 - 0.5) / 0.5
    inner = run_blocks(model.vision.sam.blocks, model.vision.sam.embed(pixels))
    seen_loss, seen = recognised(model.glyph_head(inner), patches)
    features = laid_out(model, inner)  # [B, slots, D]
    words = model.embed(ids)
    inputs = mx.concatenate([words[:, :1], features, words[:, 2:]], axis=1)
    hidden = model.language.hidden(ids, None, inputs)[:, features.shape[1] - 1 :]  # [B, L, D]
    place = mx.arange(1, ids.shape[1])
    counted = (place >= prompt[:, None]) & (place < total[:, None])
    logits, targets = model.language.head(hidden[:, :-1]), ids[:, 1:]
    loss = (cross_entropy(logits, targets) * counted).sum() / counted.sum()
    right = (mx.argmax(logits, axis=-1) == targets) | ~counted
    return loss, right.all(axis=-1), seen_loss, seen


def recognised(logits: mx.array, patches: mx.array) -> tuple[mx.array, mx.array]:
    """Loss per patch, empty ones counting little, and the part of the others that is right."""
    drawn = patches != PAD_ID
    weights = mx.where(drawn, 1.0, 0.02)
    loss = (cross_entropy(logits, patches) * weights).sum() / weights.sum()
    right = (mx.argmax(logits, axis=-1) == patches) & drawn
    return loss, right.sum() / mx.maximum(drawn.sum(), 1)


def laid_out(model: Any, inner: mx.array) -> mx.array:
    """What `see` gives for each of many pictures without tiles [B, slots, D], of SAM's blocks."""
    sam, clip = model.vision.sam, model.vision.clip
    local = run_blocks(sam.downsamples, run_blocks(sam.neck, inner))
    grid = model.projector(mx.concatenate([clip(local)[:, 1:], local.flatten(1, 2)], axis=-1))
    grid = mx.unflatten(grid, 1, local.shape[1:3])
    view = mx.vmap(lambda one: rows(one, model.image_newline))(grid)
    last = mx.broadcast_to(model.view_seperator, (len(view), 1, view.shape[-1]))
    return mx.concatenate([view, last], axis=1)
