"""A transcriber that says what it is told, two pictures at a time."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from PIL.Image import Image

from mlx_deepseek.documents.transcript import Cost, Transcript

ANSWER = """<|ref|>title<|/ref|><|det|>[[0, 0, 999, 200]]<|/det|>
# Page {index}

<|ref|>image<|/ref|><|det|>[[100, 300, 500, 900]]<|/det|>

<|ref|>text<|/ref|><|det|>[[500, 300, 900, 900]]<|/det|>
Some \\( a \\coloneqq b \\)"""


class Scripted:
    """Writes `answer(index)` in three pieces; `seen` are the pictures' sizes."""

    def __init__(self, answer: Callable[[int], str] = lambda index: ANSWER.format(index=index)):
        self.answer = answer
        self.seen: list[tuple[int, int]] = []
        self.asked = ""

    def transcribe(self, pictures: Iterable[Image], instruction: str) -> Iterator[Transcript]:
        """The states of two pictures at a time."""
        self.asked = instruction
        waiting = enumerate(pictures)
        while pair := list(islice(waiting, 2)):
            self.seen += [picture.size for _, picture in pair]
            for step in (1, 2, 3):
                for index, _ in pair:
                    text = self.answer(index)
                    finish = "stop" if step == 3 else ""
                    cost = Cost(10, 25 if finish else 0, step, 5.0)
                    yield Transcript(index, text[: len(text) * step // 3], finish, cost)
