"""Blocks in memory: the least recently used go first, and of a chain its end."""

from collections import OrderedDict
from collections.abc import Collection, Sequence

from mlx_deepseek.prefix_cache.blocks import Block


class MemoryBlocks:
    """At most `limit_bytes` of blocks by name."""

    def __init__(self, limit_bytes: int):
        self.nbytes = 0
        self._limit_bytes = limit_bytes
        self._blocks: OrderedDict[str, Block] = OrderedDict()  # least recently used first

    def __contains__(self, name: str) -> bool:
        return name in self._blocks

    def get(self, name: str) -> Block | None:
        """The block, if it is here; does not count as use."""
        return self._blocks.get(name)

    def put(self, name: str, block: Block, keep: Collection[str]) -> bool:
        """Add a block in place of older ones, but none of `keep`, which must be the youngest.

        Returns whether there was room.
        """
        while self.nbytes + block.nbytes > self._limit_bytes:
            oldest = next(iter(self._blocks), None)
            if oldest is None or oldest in keep:
                return False
            self.nbytes -= self._blocks.pop(oldest).nbytes
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
