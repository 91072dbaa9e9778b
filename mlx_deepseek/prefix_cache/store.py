"""The store of blocks: memory first, then disk; the longest stored prefix of a prompt and no more.

Latents depend on a token and those before it only, so a prefix's serve whatever follows it.
"""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from mlx_deepseek.prefix_cache.blocks import (
    BLOCK,
    Block,
    Layout,
    chain,
    cut,
    filled,
    join,
    kinds,
    layout,
)
from mlx_deepseek.prefix_cache.disk import DiskBlocks
from mlx_deepseek.prefix_cache.memory import MemoryBlocks

FOLDER_BYTES = 8 << 30


class PrefixCache:
    """Prompt caches in blocks of `BLOCK` tokens, each stored once whoever shares it.

    `key` must name all that latents depend on but the tokens: the weights, their quantization, the
    cache's format and data type. Pictures are no tokens: do not store prompts that hold any. Use
    one object on one thread; several processes may share `folder`, whose limit is for all of it.
    """

    def __init__(
        self,
        key: str,
        *,
        memory_bytes: int,
        folder: Path | None = None,
        folder_bytes: int = FOLDER_BYTES,
    ):
        self._key = key
        self._memory = MemoryBlocks(memory_bytes)
        self._disk = DiskBlocks(folder, key, folder_bytes) if folder is not None else None
        self._layout: Layout | None = None  # of the blocks that were stored or restored last

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
        return BLOCK * sum(1 for _ in takewhile(self._has, chain(self._key, ids)))

    def restore(self, ids: Sequence[int], layers: Sequence[Any], limit: int | None = None) -> int:
        """Fill `layers`, fresh from make_cache(), with the longest stored prefix of `ids[:limit]`.

        Returns its tokens; at 0 the layers are as they were.
        """
        names = chain(self._key, ids[:limit])
        blocks = self._load(names, kinds(layers))
        if blocks:
            join(blocks, layers)
            self._touch(names[: len(blocks)])
        return BLOCK * len(blocks)

    def store(self, ids: Sequence[int], layers: Sequence[Any]) -> int:
        """Store the complete blocks of `layers`, which hold `ids`; returns how many were new.

        Layers that do not keep one row per token (rotating, batched, recurrent) are not stored.
        """
        names = chain(self._key, ids[: filled(layers)])
        if not names:
            return 0
        if self._layout != layout(layers):
            self._memory.clear()
            self._layout = layout(layers)
        new = [name for name in names if not self._has(name)]
        self._memory.touch(names)
        keep = set(names)
        for i, name in enumerate(names):
            if name not in self._memory and not self._memory.put(name, cut(layers, i), keep):
                break
        if self._disk:
            self._disk.write(names, lambda i: self._memory.get(names[i]) or cut(layers, i))
        self._touch(names)
        return sum(map(self._has, new))

    def clear(self) -> None:
        """Forget every block, in memory and in the folder, other stores' too."""
        self._memory.clear()
        if self._disk:
            self._disk.clear()

    def _load(self, names: Sequence[str], wanted: str) -> list[Block]:
        """The blocks of the longest stored prefix; none if they are for other layers."""
        self._memory.touch(names)
        blocks: list[Block] = []
        keep = set(names)
        for name in names:
            block = self._memory.get(name)
            if block is None and self._disk:
                block = self._disk.read(name, self._layout)
            if block is None or block.layout.kinds != wanted:
                break
            self._layout = block.layout
            if name not in self._memory:
                self._memory.put(name, block, keep)
            blocks.append(block)
        return blocks

    def _has(self, name: str) -> bool:
        return name in self._memory or (self._disk is not None and name in self._disk)

    def _touch(self, names: Sequence[str]) -> None:
        self._memory.touch(names)
        if self._disk:
            self._disk.touch(names)
