"""Which tokens near it a query sees: a window behind it, and, inside a picture, all of that.

The rows of a picture (DeepSeek-V4's vision release) are one patch of text to each other: from its
start to its end each sees all, at most a number of them on either side. The whole picture must be
among a pass's new tokens.
"""

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from mlx_deepseek.layers.step import Step

START, END = 0, 4  # types of a picture's first and last token


class VisibleRange(NamedTuple):
    """Positions [B, L] of the first and the last token that each query sees."""

    first: np.ndarray
    last: np.ndarray


def visible_range(step: Step, offset: int, back: int, most: int) -> VisibleRange | None:
    """What the new tokens after `offset` see; None without pictures: `back` tokens and themselves.

    In pictures up to `most` - 1 tokens before, and `most` tokens after.
    """
    if step.types is None:
        return None
    if "visible_range" not in step.shared:
        step.shared["visible_range"] = _visible_range(np.array(step.types), offset, back, most)
    return step.shared["visible_range"]


def _visible_range(types: np.ndarray, offset: int, back: int, most: int) -> VisibleRange:
    length = types.shape[1]
    places = np.broadcast_to(np.arange(length), types.shape)
    starts = np.maximum.accumulate(np.where(types == START, places, -1), axis=1)
    ended = np.maximum.accumulate(np.where(types == END, places, -1), axis=1)
    ended = np.pad(ended, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]  # before each token
    ends = np.where(types == END, places, length)[:, ::-1]
    ends = np.minimum.accumulate(ends, axis=1)[:, ::-1]
    inside = (starts > ended) & (ends < length)
    first = np.where(inside, np.maximum(starts, places - most + 1), places)
    last = np.where(inside, np.minimum(ends, places + most), places)
    return VisibleRange(np.minimum(first, places - back) + offset, last + offset)


def near_rows(
    part: slice, offset: int, start: int, back: int, seen: VisibleRange | None
) -> tuple[int, int, mx.array | None]:
    """Tokens from `low` on and before `high`, and which of them the queries `part` see.

    Queries come after `offset` tokens, of which those before `start` are out of reach. The mask is
    [l, high - low] or [B, l, high - low]; None: one query that sees all.
    """
    low, high = max(offset + part.start - back, start), offset + part.stop
    if seen is None and part.stop - part.start == 1:
        return low, high, None
    if seen is None:
        queries, rows = mx.arange(offset + part.start, high)[:, None], mx.arange(low, high)
        return low, high, (rows <= queries) & (rows >= queries - back)
    first, last = seen.first[:, part], seen.last[:, part]
    low, high = max(int(first.min()), start), int(last.max()) + 1
    rows = mx.arange(low, high)
    return low, high, (rows >= mx.array(first)[..., None]) & (rows <= mx.array(last)[..., None])
