"""A vision model as transcriber: one prompt for each picture, decoded in a batch."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Image

from mlx_deepseek.errors import DeepSeekError, PromptError
from mlx_deepseek.generate import Request
from mlx_deepseek.models.vision_lm import VisionLM
from mlx_deepseek.prompting import Prompter
from mlx_deepseek.reading import no_repeat
from mlx_deepseek.reading.answer import parse
from mlx_deepseek.reading.batch import Token, decode
from mlx_deepseek.reading.transcript import Cost, Transcript, vision_tokens
from mlx_deepseek.sampling import Sampling

# The authors' limit for a page.
MAX_TOKENS = 8192


@dataclass
class Writing:
    """A picture whose answer is being written; `size` is the picture's."""

    index: int
    size: tuple[int, int]
    cost: Cost
    detokenizer: Any
    first_s: float = 0.0

    def take(self, token: Token, stops: frozenset[int]) -> None:
        """Add a token to the text; stop tokens are no part of it."""
        if token.token not in stops:
            self.detokenizer.add_token(token.token)
        self.first_s = self.first_s or time.perf_counter()
        written_s = time.perf_counter() - self.first_s
        count = self.cost.completion_tokens + 1
        speed = (count - 1) / written_s if count > 1 else 0.0
        self.cost = replace(self.cost, completion_tokens=count, generation_tps=speed)


class ModelTranscriber:
    """`rows` pictures at a time, with at most `max_tokens` for each answer.

    Use it on the thread that computes.
    """

    def __init__(
        self,
        model: Any,
        prompter: Prompter,
        context_length: int,
        *,
        rows: int,
        mode: str | None = None,
        max_tokens: int | None = None,
    ):
        """`mode` names how pictures are cut; None is the model's own way.

        Raises:
            PromptError: the model reads no pictures, or `rows` or `max_tokens` is below 1.
            ImageError: the model does not have this mode.
        """
        if not isinstance(model, VisionLM):
            raise PromptError(
                f"{prompter.name} reads no pictures. Load a vision model (`mlx-deepseek models`)."
            )
        for name, value in (("batch", rows), ("max_tokens", max_tokens)):
            if value is not None and value < 1:
                raise PromptError(f"{name} is {value}. Expected at least 1.")
        self.model = model
        self.prompter = prompter if mode is None else prompter.at(mode)
        self.context_length = context_length
        self.rows = rows
        self.max_tokens = max_tokens or MAX_TOKENS
        tokenizer: Any = prompter.tokenizer  # forwards to transformers' by name
        self.stop_ids = frozenset(tokenizer.eos_token_ids)
        self.processors = [no_repeat.for_vocabulary(tokenizer.get_vocab())]

    def transcribe(self, pictures: Iterable[Image], instruction: str) -> Generator[Transcript]:
        """As the protocol says; a picture that makes no prompt ends with an error."""
        desk: dict[int, Writing] = {}
        failed: deque[Transcript] = deque()
        requests = self._requests(pictures, instruction, desk, failed)
        for token in decode(self.model, requests, self.rows, self.processors):
            while failed:
                yield failed.popleft()
            writing = desk.pop(token.number) if token.finish else desk[token.number]
            writing.take(token, self.stop_ids)
            yield self._transcript(writing, token.finish)
        yield from failed

    def _requests(
        self,
        pictures: Iterable[Image],
        instruction: str,
        desk: dict[int, Writing],
        failed: deque[Transcript],
    ) -> Iterator[Request]:
        number = 0  # of the request; pictures that make none have an index, too
        for index, picture in enumerate(pictures):
            try:
                request, cost = self._request(picture, instruction)
            except DeepSeekError as error:
                failed.append(Transcript(index, finish="error", error=str(error)))
                continue
            desk[number] = Writing(index, picture.size, cost, self.prompter.tokenizer.detokenizer)
            number += 1
            yield request

    def _request(self, picture: Image, instruction: str) -> tuple[Request, Cost]:
        rendered = self.prompter.render(instruction, [picture])
        room = self.context_length - len(rendered.ids)
        if room < 1:
            raise PromptError(
                f"The page takes {len(rendered.ids)} tokens. Expected fewer than the context "
                f"window of {self.context_length}; choose a mode with fewer."
            )
        (sight,) = rendered.sights.values()
        request = Request(
            ids=rendered.ids,
            max_tokens=min(self.max_tokens, room),
            sampling=Sampling(temperature=0.0),
            stop_ids=self.stop_ids,
            embed=self.prompter.embed(rendered),
        )
        return request, Cost(vision_tokens(sight.plan, picture.size))

    def _transcript(self, writing: Writing, finish: str) -> Transcript:
        if finish:
            writing.detokenizer.finalize()
        text, cost = writing.detokenizer.text, writing.cost
        if finish:
            words = "\n".join(block.words for block in parse(text, writing.size))
            cost = replace(cost, text_tokens=len(self.prompter.encode(words)))
        return Transcript(writing.index, text, finish, cost)
