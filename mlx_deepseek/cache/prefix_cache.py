"""The store of blocks: memory first, then disk; the longest stored prefix of a prompt and no more.

Latents depend on a token and those before it only, so a prefix's serve whatever follows it.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from mlx_deepseek.cache.blocks import (
    BLOCK,
    BlockLayout,
    CacheBlock,
    chain,
    cut,
    cut_tail,
    filled,
    join,
    kinds,
    layout,
    tail_name,
)
from mlx_deepseek.cache.disk import DiskBlocks
from mlx_deepseek.cache.remote_cache import RemoteCache

FOLDER_BYTES = 8 << 30
# Names of evicted blocks that are remembered.
MOST_EVICTED = 1 << 14


class PrefixCache:
    """Prompt caches in blocks of `BLOCK` tokens, each stored once whoever shares it.

    `key` must name all that latents depend on but the tokens: the weights, their quantization, the
    cache's format and data type. Pictures are no tokens: do not store prompts that hold any. Use
    one object on one thread; several processes may share `folder`, whose limit is for all of it.
    While `applies` is false, nothing is found or stored. `marked`: layers forget tokens, so a
    prefix ends where they have kept what they need to go on.
    """

    def __init__(
        self,
        key: str,
        *,
        memory_bytes: int,
        folder: Path | None = None,
        folder_bytes: int = FOLDER_BYTES,
        applies: Callable[[], bool] = lambda: True,
        marked: bool = False,
    ):
        self._key = key
        self._applies = applies
        self._marked = marked
        self._memory = MemoryBlocks(memory_bytes)
        self._disk = DiskBlocks(folder, key, folder_bytes) if folder is not None else None
        self._layout: BlockLayout | None = None  # of the blocks that were stored or restored last

    @property
    def memory_nbytes(self) -> int:
        """Bytes of blocks in memory."""
        return self._memory.nbytes

    @property
    def folder_nbytes(self) -> int:
        """Bytes of all stores' files in the folder."""
        return self._disk.nbytes if self._disk else 0

    def match(self, ids: Sequence[int]) -> int:
        """Tokens of the longest stored prefix, a multiple of BLOCK.

        Files are looked for, not into: `restore` may find a damaged one and restore less.
        """
        names = chain(self._key, ids)
        if not names or not self._applies():  # which takes a look at the whole model
            return 0
        found = sum(1 for _ in takewhile(self._has, names))
        while self._marked and found and not self._has(tail_name(names[found - 1])):
            found -= 1
        return BLOCK * found

    def restore(self, ids: Sequence[int], layers: Sequence[Any], limit: int | None = None) -> int:
        """Fill `layers`, fresh from make_cache(), with the longest stored prefix of `ids[:limit]`.

        Returns its tokens; at 0 the layers are as they were.
        """
        return self.fill(chain(self._key, ids[:limit]), layers)

    def fill(self, names: Sequence[str], layers: Sequence[Any]) -> int:
        """As `restore`, by the names of a prompt's blocks."""
        blocks, tail = self.load(names, layers)
        for layer in layers:
            if blocks and isinstance(layer, RemoteCache):
                while (count := layer.restore(names[: len(blocks)])) < len(blocks):
                    blocks, tail = self.load(names[:count], layers)
                layer.fill(len(blocks))
        if blocks:
            join(blocks, layers, tail)
        return BLOCK * len(blocks)

    def store(self, ids: Sequence[int], layers: Sequence[Any]) -> int:
        """Store the complete blocks of `layers`, which hold `ids`; returns how many were new.

        Layers that do not keep one row per token (rotating, batched, recurrent) are not stored.
        """
        return self.keep(chain(self._key, ids[: filled(layers)]), layers)

    def keep(self, names: Sequence[str], layers: Sequence[Any]) -> int:
        """As `store`, by the names of as many blocks as `layers` hold."""
        if not names or not self._applies():
            return 0
        for layer in layers:
            if isinstance(layer, RemoteCache):
                layer.store(names)
        if self._layout != layout(layers):
            self._memory.clear()
            self._layout = layout(layers)
        new = [name for name in names if not self._has(name)]
        keep = self._with_tails(names)
        self._memory.touch(keep)
        for i, name in enumerate(names):
            if name not in self._memory and not self._memory.put(name, cut(layers, i), set(keep)):
                break
        if self._disk:
            self._disk.write(names, lambda i: self._memory.get(names[i]) or cut(layers, i))
        self._store_tails(names, layers, keep)
        self._touch(keep)
        return sum(map(self._has, new))

    def _store_tails(self, names: Sequence[str], layers: Sequence[Any], keep: list[str]) -> None:
        """Where layers forget tokens: what they still have of the places where blocks end."""
        for i, name in enumerate(map(tail_name, names) if self._marked else ()):
            tail = None if self._has(name) else cut_tail(layers, (i + 1) * BLOCK)
            if tail is None:
                continue
            self._memory.put(name, tail, set(keep))
            if self._disk:
                self._disk.write([name], lambda _, tail=tail: tail)

    def _with_tails(self, names: Sequence[str]) -> list[str]:
        """Names of blocks, each before that of what follows it, parents first."""
        if not self._marked:
            return list(names)
        return [one for name in names for one in (name, tail_name(name))]

    def lost(self, ids: Sequence[int], tokens: int) -> bool:
        """Whether the block after the first `tokens` of a prompt was here once."""
        names = chain(self._key, ids)[tokens // BLOCK : tokens // BLOCK + 1]
        return bool(names) and names[0] in self._memory.evicted and not self._has(names[0])

    def clear(self) -> None:
        """Forget every block, in memory and in the folder, other stores' too."""
        self._memory.clear()
        if self._disk:
            self._disk.clear()

    def load(
        self, names: Sequence[str], layers: Sequence[Any]
    ) -> tuple[list[CacheBlock], CacheBlock | None]:
        """The blocks of the longest stored prefix; none if they are for other layers.

        And what layers that forget tokens need after it.
        """
        wanted = kinds(layers)
        self._memory.touch(names)
        blocks: list[CacheBlock] = []
        keep = set(names)
        for name in names:
            block = self._read(name, self._layout)
            if block is None or block.layout.kinds != wanted:
                break
            self._layout = block.layout
            if name not in self._memory:
                self._memory.put(name, block, keep)
            blocks.append(block)
        tail: CacheBlock | None = None
        while self._marked and blocks and tail is None:
            tail = self._read(tail_name(names[len(blocks) - 1]), None)
            if tail is None or tail.layout.kinds != wanted:
                tail = None
                blocks.pop()
        self._touch(self._with_tails(names[: len(blocks)]))
        return blocks, tail

    def _read(self, name: str, expected: BlockLayout | None) -> CacheBlock | None:
        block = self._memory.get(name)
        if block is None and self._disk:
            block = self._disk.read(name, expected)
        return block

    def _has(self, name: str) -> bool:
        return name in self._memory or (self._disk is not None and name in self._disk)

    def _touch(self, names: Sequence[str]) -> None:
        self._memory.touch(names)
        if self._disk:
            self._disk.touch(names)


__all__ = ["BLOCK", "PrefixCache"]


class MemoryBlocks:
    """At most `limit_bytes` of blocks by name."""

    def __init__(self, limit_bytes: int):
        self.nbytes = 0
        self.evicted: OrderedDict[str, None] = OrderedDict()  # names of those that were here
        self._limit_bytes = limit_bytes
        self._blocks: OrderedDict[str, CacheBlock] = OrderedDict()  # least recently used first

    def __contains__(self, name: str) -> bool:
        return name in self._blocks

    def get(self, name: str) -> CacheBlock | None:
        """The block, if it is here; does not count as use."""
        return self._blocks.get(name)

    def put(self, name: str, block: CacheBlock, keep: Collection[str]) -> bool:
        """Add a block in place of older ones, but none of `keep`, which must be the youngest.

        Returns whether there was room.
        """
        while self.nbytes + block.nbytes > self._limit_bytes:
            oldest = next(iter(self._blocks), None)
            if oldest is None or oldest in keep:
                return False
            self.nbytes -= self._blocks.pop(oldest).nbytes
            self.evicted[oldest] = None
            if len(self.evicted) > MOST_EVICTED:
                self.evicted.popitem(last=False)
        self._blocks[name] = block
        self.nbytes += block.nbytes
        return True

    def touch(self, names: Sequence[str]) -> None:
        """Note that a chain, or its beginning, is in use."""
        for name in reversed(names):  # parents stay younger: without them a child is out of reach
            if name in self._blocks:
                self._blocks.move_to_end(name)

    def clear(self) -> None:
        """Forget all."""
        self._blocks.clear()
        self.nbytes = 0
