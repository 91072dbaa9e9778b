"""What a model writes down of a page, and what reading needs of a model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from PIL.Image import Image


@dataclass(frozen=True)
class Cost:
    """Tokens that a page takes.

    `vision_tokens` show the page: newlines, separators and padding are not among them.
    `text_tokens` are those of its words, without what says where they are; 0 until it is done.
    """

    vision_tokens: int = 0
    text_tokens: int = 0
    completion_tokens: int = 0
    generation_tps: float = 0.0

    @property
    def compression(self) -> float:
        """Text tokens per vision token (arXiv:2510.18234 §4.1)."""
        return self.text_tokens / self.vision_tokens if self.vision_tokens else 0.0


@dataclass(frozen=True)
class Transcript:
    """The state of one picture; `text` is all that was written so far.

    `finish` is "" while the model writes, then "stop", "length" (it was cut off) or "error".
    """

    index: int
    text: str = ""
    finish: str = ""
    cost: Cost = Cost()
    error: str = ""


class Transcriber(Protocol):
    """A model that reads pictures; several of them may be in progress at once."""

    def transcribe(self, pictures: Iterable[Image], instruction: str) -> Iterator[Transcript]:
        """The states of all pictures, interleaved; a picture's last one has a `finish`.

        A picture is taken when the model is ready for it.
        """
        ...
