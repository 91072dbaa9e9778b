"""The converter of Hugging Face checkpoints, as the library sees it.

It is a package of its own that builds on this one, so it is found by its entry point; what it
offers stands here.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlx_deepseek.errors import DeepSeekError

if TYPE_CHECKING:
    import mlx.core as mx
    import mlx.nn as nn

    from mlx_deepseek.checkpoint.hub import Listing  # brings huggingface_hub, slow to import

GROUP = "mlx_deepseek.converters"
DEFAULT_RECIPE = "4bit"


class OpenedSource(Protocol):
    """A checkpoint whose config and headers have been read."""

    @property
    def folder(self) -> Path:
        """The folder of its files; of one on the hub, that of the small ones."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """config.json."""
        ...

    @property
    def is_release(self) -> bool:
        """Whether names and shapes are a Hugging Face release's rather than MLX's."""
        ...


class PlannedConversion(Protocol):
    """What converting will do."""

    def summary(self) -> Mapping[str, Any]:
        """In numbers: "bytes_out" and "parameters" among them."""
        ...


class Converter(Protocol):
    """The module that the entry point `huggingface` names."""

    def open(self, source: "str | Path | Listing", revision: str | None = None) -> OpenedSource:
        """Read config and headers of a folder or a repository; no weights."""
        ...

    def plan(self, source: str | Path | OpenedSource, recipe: str = "4bit") -> PlannedConversion:
        """What converting would do."""
        ...

    def convert(
        self,
        source: str | Path | OpenedSource,
        target: str | Path,
        recipe: str = "4bit",
        *,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> object:
        """Convert to the folder `target`; `progress` gets bytes written, bytes in total."""
        ...

    def stored_bytes(self, model: "nn.Module", recipe: str = "4bit") -> Mapping[str, int]:
        """Bytes of each parameter of a model, by name, as `recipe` would store it."""
        ...

    def export(self, source: str | Path, target: str | Path) -> object:
        """Write an MLX checkpoint in the names and shapes of a release."""
        ...

    def weights(
        self, source: str | Path | OpenedSource, dtype: "mx.Dtype | str"
    ) -> "Iterator[tuple[str, mx.array]]":
        """Every parameter by its MLX name, unquantized, in `dtype`."""
        ...


def converter() -> Converter:
    """The installed converter.

    Raises:
        DeepSeekError: there is none.
    """
    found = list(entry_points(group=GROUP, name="huggingface"))
    if not found:
        raise DeepSeekError(
            "No converter for Hugging Face checkpoints is installed. Install mlx-deepseek as a "
            "package (`pip install .`), or give it an MLX checkpoint."
        )
    return found[0].load()
