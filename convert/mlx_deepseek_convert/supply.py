"""Where a conversion's source files come from: a folder, or the hub, file after file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mlx_deepseek_convert.pieces import Piece
from mlx_deepseek_convert.source import Source

SHARDS_AHEAD = 2  # files from the hub on the disk beside the one that is being downloaded


class Supply(Protocol):
    """Hands out source files, and takes them back."""

    def locate(self, file: Path) -> Path:
        """Where a source file lies; waits until it does."""
        ...

    def release(self, pieces: Sequence[Piece]) -> None:
        """Note that pieces are done and will not be read again."""
        ...

    def close(self) -> None:
        """End: whoever waits for a file gets an error, and no more files come."""
        ...


class LocalSupply:
    """Files in a folder, which is only read."""

    def locate(self, file: Path) -> Path:
        """Where it is."""
        return file

    def release(self, pieces: Sequence[Piece]) -> None:
        """Nothing: the files are the user's."""

    def close(self) -> None:
        """Nothing."""


def supply_for(source: Source, staging: Path, todo: Sequence[Piece]) -> Supply:
    """The supply of a source for pieces that are still to be done, in their order."""
    if source.remote is None:
        return LocalSupply()
    from mlx_deepseek_convert.download import HubSupply  # huggingface_hub is slow to import

    supply = HubSupply(source.remote, staging, todo)
    supply.start()
    return supply
