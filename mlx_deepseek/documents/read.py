"""Documents to read pages, several at once; what cannot be read is reported in its place."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property

from PIL.Image import Image

from mlx_deepseek.documents.blocks import Block, parse
from mlx_deepseek.documents.instructions import instruction
from mlx_deepseek.documents.pages import Page, pages
from mlx_deepseek.documents.transcript import Cost, Transcriber, Transcript
from mlx_deepseek.vision.image_file import Source


@dataclass(frozen=True)
class ReadPage:
    """A page as far as it is read; `answer` is the model's text so far, boxes marked in it.

    `finish` is "" while it is read, then "stop", "length" (cut off) or "error", which `error`
    explains. A source that cannot be opened has one, number 0 of 0.
    """

    source: Source = field(repr=False)
    name: str
    number: int
    count: int
    picture: Image | None = field(default=None, repr=False)
    answer: str = ""
    finish: str = ""
    cost: Cost = field(default_factory=Cost)
    error: str = ""

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Its parts, with boxes in the picture's pixels."""
        size = (1, 1) if self.picture is None else self.picture.size
        return parse(self.answer, size, done=bool(self.finish))

    @property
    def text(self) -> str:
        """Its words, without boxes."""
        return "\n\n".join(block.words for block in self.blocks if block.words)


def read(
    transcriber: Transcriber,
    sources: Sequence[Source],
    prompt: str = "markdown",
    *,
    password: str | None = None,
    wanted: Callable[[Source, int], bool] = lambda source, number: True,
) -> Generator[ReadPage]:
    """The states of all `wanted` pages of files, bytes or pictures, interleaved.

    `prompt` is a name of an instruction, "locate: PHRASE", or any text.

    Raises:
        PromptError: there is no prompt.
    """
    text = instruction(prompt)
    bad: deque[ReadPage] = deque()
    good: dict[int, Page] = {}
    with closing(pages(sources, password, wanted)) as found:
        for transcript in transcriber.transcribe(_pictures(found, good, bad), text):
            while bad:
                yield bad.popleft()
            page = good.pop(transcript.index) if transcript.finish else good[transcript.index]
            yield _state(page, transcript)
    yield from bad


def _pictures(
    found: Iterator[Page], good: dict[int, Page], bad: deque[ReadPage]
) -> Iterator[Image]:
    """Pictures for the model, whose pages are noted in `good`; the others go to `bad`."""
    index = 0
    for page in found:
        if page.picture is None:
            bad.append(_state(page, Transcript(0, finish="error", error=page.error)))
            continue
        good[index] = page
        index += 1
        yield page.picture


def _state(page: Page, transcript: Transcript) -> ReadPage:
    return ReadPage(
        source=page.source,
        name=page.name,
        number=page.number,
        count=page.count,
        picture=page.picture,
        answer=transcript.text,
        finish=transcript.finish,
        cost=transcript.cost,
        error=transcript.error,
    )
