"""Prompt caches of several requests as one batch: rows of different lengths, padded on the left.

A row's tokens end where the others' end, so that one step appends to all of them. What is kept of a
token does not depend on the padding, and the mask hides it: a row's attention is as it is alone.
Latents of tokens with which all prompts begin are kept once, before the padding.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.models.base import create_causal_mask
from mlx_lm.models.cache import KVCache, QuantizedKVCache

from mlx_deepseek.cache.prompt_cache import common_prefix
from mlx_deepseek.cache.remote_cache import RemoteCache
from mlx_deepseek.layers.compressed_batch import CompressedBatch
from mlx_deepseek.layers.compressed_cache import CompressedCache
from mlx_deepseek.layers.latent_cache import KVCache as LatentCache
from mlx_deepseek.layers.latent_cache import QuantizedLatentCache
from mlx_deepseek.layers.latent_kv import LatentKV, SharedLatentKV

# Caches of one row per token, which lies along axis 2 of all their arrays; or elsewhere.
ROW_CACHES = (KVCache, QuantizedKVCache, LatentCache, QuantizedLatentCache, RemoteCache)
STEP = 256  # tokens by which buffers grow
# Tokens from which it pays to attend to what all rows have in common only once.
WORTH_SHARING = 256

Layers = Sequence[Any]


def can_batch(layers: Layers) -> bool:
    """Whether the caches of one request can be rows of batches; empty ones cannot yet."""
    rows = all(type(layer) in (*ROW_CACHES, CompressedCache) for layer in layers)
    return rows and not any(layer.empty() for layer in layers)


def can_read(layers: Layers) -> bool:
    """Whether several tokens of several requests can be appended to such caches at once."""
    return all(type(layer) in ROW_CACHES for layer in layers)


def shared_tokens(layers: Layers, prompts: Sequence[Sequence[int]], most: int) -> int:
    """Tokens, `most` at most, with which all prompts begin; 0 where it does not pay to share them.

    Only latents can be shared, and only where no indexer chooses among them.
    """
    if not all(type(layer) in (LatentCache, QuantizedLatentCache) for layer in layers):
        return 0
    if any(not isinstance(layer.values, mx.array) or layer.values.size for layer in layers):
        return 0
    common = min([most, *(common_prefix(prompts[0], ids) for ids in prompts[1:])])
    return common if common >= WORTH_SHARING else 0


class LeftPadding:
    """Tokens of padding before each row, the same in all layers."""

    def __init__(self, left: list[int]):
        self.left = left
        self._offsets: tuple[int, mx.array] | None = None

    def offsets(self, length: int) -> mx.array:
        """Tokens [B] of each row where padded rows have `length`."""
        if self._offsets is None or self._offsets[0] != length:
            self._offsets = length, mx.array([length - padding for padding in self.left])
        return self._offsets[1]


class PaddedRows:
    """One layer's rows: a cache of theirs whose arrays hold all of them, [B, ...].

    `inner.offset` is the length of the padded rows, `offset` [B] are the rows' own. `prefix` is a
    cache of the tokens before the padding, which all rows share.
    """

    def __init__(self, inner: Any, padding: LeftPadding, prefix: Any = None):
        self.inner = inner
        self.padding = padding
        self.prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # bits and group_size, where there are any

    @property
    def offset(self) -> mx.array:
        """Tokens [B] of each row so far."""
        return self.padding.offsets(self.shared + self.inner.offset)

    @property
    def shared(self) -> int:
        """Tokens before the padding."""
        return 0 if self.prefix is None else self.prefix.offset

    def update_and_fetch(self, keys: Any, values: Any) -> tuple[Any, Any]:
        """As the rows' own cache, for B rows."""
        keys, values = self.inner.update_and_fetch(keys, values)
        if self.prefix is None:
            return keys, values
        first, _ = self.prefix.keys_and_values()
        parts = [LatentKV(x) if isinstance(x, mx.array) else x for x in (first, keys)]
        return SharedLatentKV(*parts), values

    def make_mask(
        self, N: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """What N new tokens may attend to, never the padding."""
        if not any(self.padding.left):
            mask = self.inner.make_mask(N, return_array=return_array, window_size=window_size)
        else:
            left = mx.array(self.padding.left)
            before = self.inner.offset
            mask = create_causal_mask(N, before, window_size=window_size, left_padding=left)
        if self.prefix is None or not isinstance(mask, mx.array):
            return mask
        seen = mx.ones((*mask.shape[:-1], self.shared), mask.dtype)
        return mx.concatenate([seen, mask], axis=-1)


class CacheBatch:
    """The caches of B requests, layer by layer; `layers` go to the model.

    The first `shared` tokens of all are the same, and are kept once: see `shared_tokens`.
    """

    def __init__(self, rows: Sequence[Layers], shared: int = 0):
        self._start(rows, shared)

    @classmethod
    def empty(cls, layers: Layers, rows: int) -> "CacheBatch":
        """As many rows without tokens, of empty caches like `layers`."""
        batch = cls.__new__(cls)
        batch.shared, batch.padding = 0, LeftPadding([0] * rows)
        batch.layers = [
            PaddedRows(
                layer.emptied(rows) if isinstance(layer, RemoteCache) else copy(layer),
                batch.padding,
            )
            for layer in layers
        ]
        return batch

    def extend(self, rows: Sequence[Layers], shared: int = 0) -> None:
        """Take in more requests' caches, which must not be used any more.

        They have `shared` tokens in common with those who are here.
        """
        if shared < self.shared:
            own = [self.extract(number) for number in range(len(self.padding.left))]
            self._start([*own, *rows], shared)
        else:
            self._join(rows)

    def filter(self, keep: Sequence[int]) -> None:
        """Keep some rows, by their numbers."""
        numbers = mx.array(list(keep))
        left = [self.padding.left[number] for number in keep]
        cut = min(left)
        self.padding.left = [padding - cut for padding in left]
        self.padding._offsets = None
        for layer in self.layers:
            if isinstance(layer, CompressedBatch):
                layer.filter(numbers)
                continue
            inner = layer.inner
            if isinstance(inner, RemoteCache):
                inner.filter(keep, cut)
                continue
            held = inner.keys, inner.values
            inner.keys, inner.values = tree_map(lambda a: a[numbers, :, cut:], held)
            inner.offset -= cut

    def extract(self, number: int) -> list[Any]:
        """One row's caches, as they are alone."""
        return [self._extracted(layer, number) for layer in self.layers]

    def _extracted(self, layer: Any, number: int) -> Any:
        if isinstance(layer, CompressedBatch):
            return layer.rows[number]
        start, end = self.padding.left[number], layer.inner.offset
        if isinstance(layer.inner, RemoteCache):
            return layer.inner.extracted(number, end - start)
        found = cut(layer.inner, slice(start, end), number)
        return found if layer.prefix is None else joined([layer.prefix, found])

    def _start(self, rows: Sequence[Layers], shared: int) -> None:
        """Hold these rows and no others."""
        self.shared, self.padding = shared, LeftPadding([])
        self.layers: list[Any] = []
        self._join(rows)

    def _join(self, rows: Sequence[Layers]) -> None:
        lengths = [row[0].offset - self.shared for row in rows]
        held = self.length if self.layers else 0
        longest = max(held, *lengths)
        padding = [left + longest - held for left in self.padding.left]
        self.padding.left = [*padding, *(longest - length for length in lengths)]
        self.padding._offsets = None
        before = self.layers or [None] * len(rows[0])
        self.layers = [
            self._joined(layer, [row[i] for row in rows], longest) for i, layer in enumerate(before)
        ]

    def _joined(self, layer: Any, rows: Sequence[Any], longest: int) -> Any:
        """Rows [B, ...] of one layer: those of a batch, if there is one, and single caches."""
        if isinstance(rows[0], CompressedCache):
            return CompressedBatch([*([] if layer is None else layer.rows), *rows])
        if isinstance(rows[0], RemoteCache):
            every = [*([] if layer is None else [layer.inner]), *rows]
            return PaddedRows(every[0].joined(every, longest), self.padding)
        prefix = layer.prefix if layer else None
        if layer is None and self.shared:
            prefix = cut(rows[0], slice(0, self.shared))
        parts = [(row, slice(self.shared, row.offset)) for row in rows]
        if layer is not None:
            parts.insert(0, (layer.inner, slice(0, layer.inner.offset)))
        tokens, room = [part for _, part in parts], STEP - longest % STEP

        def join(*arrays: mx.array) -> mx.array:
            own = [array[:, :, part] for array, part in zip(arrays, tokens, strict=True)]
            return mx.concatenate([padded(a, longest - a.shape[2], room) for a in own])

        inner = copy(parts[0][0])
        inner.keys, inner.values = tree_map(join, *((one.keys, one.values) for one, _ in parts))
        inner.offset = longest
        return PaddedRows(inner, self.padding, prefix)

    @property
    def length(self) -> int:
        """Tokens of the padded rows after what is shared; of compressed caches, of the longest."""
        first = self.layers[0]
        if isinstance(first, CompressedBatch):
            return max(row.offset for row in first.rows)
        return first.inner.offset


def cut(cache: Any, tokens: slice, row: int = 0) -> Any:
    """Some tokens of one row, in a cache of their own."""
    found = copy(cache)
    found.keys, found.values = tree_map(
        lambda a: mx.contiguous(a[row : row + 1, :, tokens]), (cache.keys, cache.values)
    )
    found.offset = tokens.stop - tokens.start
    return found


def joined(parts: Sequence[Any]) -> Any:
    """One row's cache of what follows one another in several."""
    found = copy(parts[0])
    found.keys, found.values = tree_map(
        lambda *arrays: mx.concatenate(list(arrays), axis=2), *((p.keys, p.values) for p in parts)
    )
    found.offset = sum(part.offset for part in parts)
    return found


def padded(array: mx.array, left: int, right: int) -> mx.array:
    """An array with zeros before and after its tokens."""
    if not array.size:  # of width 0
        shape = (*array.shape[:2], left + array.shape[2] + right, array.shape[3])
        return mx.zeros(shape, array.dtype)
    return mx.pad(array, [(0, 0), (0, 0), (left, right), (0, 0)])
