"""Which tokens a query may attend to: all, those before it ("causal"), or what an array says."""

import mlx.core as mx

Mask = mx.array | str | None


def visible(mask: Mask, queries: slice, tokens: slice, new: int, cached: int) -> mx.array | None:
    """A part of a mask as booleans [B or 1, 1, l, s]; None where everything is seen.

    `queries` are some of L = `new`, which are the last of S = `cached` tokens; `tokens` some of S.
    """
    if mask is None:
        return None
    if not isinstance(mask, str):
        return mask.reshape(-1, 1, new, cached)[:, :, queries, tokens]
    first, last = cached - new + queries.start, cached - new + queries.stop
    if tokens.stop <= first + 1:
        return None
    seen = mx.arange(first, last)[:, None] >= mx.arange(tokens.start, tokens.stop)
    return seen[None, None]


def apply_mask(scores: mx.array, mask: mx.array) -> mx.array:
    """Scores with the lowest number where `mask` is false."""
    lowest = mx.array(mx.finfo(scores.dtype).min, dtype=scores.dtype)
    return mx.where(mask, scores, lowest)
