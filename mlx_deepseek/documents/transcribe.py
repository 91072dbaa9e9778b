"""A vision model as transcriber: one prompt for each picture, decoded in a batch."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Image

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.documents.blocks import parse
from mlx_deepseek.documents.transcript import Cost, Transcript
from mlx_deepseek.errors import DeepSeekError, PromptError
from mlx_deepseek.generation import no_repeat
from mlx_deepseek.generation.dispatcher import Dispatcher
from mlx_deepseek.generation.job import END, Generation, Mailbox, TokenSink
from mlx_deepseek.generation.prompt import PromptProcessor
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.models.vision_lm import ImageModel

# The authors' limit for a page.
MAX_TOKENS = 8192


@dataclass
class PageInProgress:
    """A picture whose answer is being written; `size` is the picture's."""

    index: int
    size: tuple[int, int]
    cost: Cost
    detokenizer: Any
    first_s: float = 0.0

    def add(self, token: int, stops: frozenset[int]) -> None:
        """Add a token to the text; stop tokens are no part of it."""
        if token not in stops:
            self.detokenizer.add_token(token)
        self.first_s = self.first_s or time.perf_counter()
        written_s = time.perf_counter() - self.first_s
        count = self.cost.completion_tokens + 1
        speed = (count - 1) / written_s if count > 1 else 0.0
        self.cost = replace(self.cost, completion_tokens=count, generation_tps=speed)


class ModelTranscriber:
    """`rows` pictures at a time, with at most `max_tokens` for each answer."""

    def __init__(
        self,
        model: Any,
        dispatcher: Dispatcher,
        processor: PromptProcessor,
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
        if not isinstance(model, ImageModel):
            raise PromptError(
                f"{processor.name} reads no pictures. Load a vision model (`mlx-deepseek models`)."
            )
        for name, value in (("batch", rows), ("max_tokens", max_tokens)):
            if value is not None and value < 1:
                raise PromptError(f"{name} is {value}. Expected at least 1.")
        self.model: Any = model
        self.dispatcher = dispatcher
        self.processor = processor if mode is None else processor.with_mode(mode)
        self.context_length = context_length
        self.rows = rows
        self.max_tokens = max_tokens or MAX_TOKENS
        tokenizer = processor.tokenizer
        self.stop_ids = frozenset(tokenizer.eos_token_ids)
        self.guard = no_repeat.for_vocabulary(tokenizer.get_vocab())

    def transcribe(self, pictures: Iterable[Image], instruction: str) -> Generator[Transcript]:
        """As the protocol says; a picture that makes no prompt ends with an error."""
        pages: dict[int, PageInProgress] = {}
        failed: deque[Transcript] = deque()
        mailbox = Mailbox()
        jobs = self._jobs(pictures, instruction, mailbox, pages, failed)
        for job, item in self.dispatcher.together(jobs, mailbox, self.rows):
            yield from drained(failed)
            page = pages[job.number]
            if isinstance(item, str):
                yield self._transcript(page, item)
            elif item is END:
                del pages[job.number]
            elif item.token is not None:
                page.add(item.token, self.stop_ids)
                yield self._transcript(page)
        yield from drained(failed)

    def _jobs(
        self,
        pictures: Iterable[Image],
        instruction: str,
        mailbox: Mailbox,
        pages: dict[int, PageInProgress],
        failed: deque[Transcript],
    ) -> Iterator[Generation]:
        for index, picture in enumerate(pictures):
            try:
                request, cost = self._request(picture, instruction)
            except DeepSeekError as error:
                failed.append(Transcript(index, finish="error", error=str(error)))
                continue
            job = Generation(request, TokenSink(), PromptCache(self.model), mailbox)
            detokenizer = self.processor.tokenizer.detokenizer
            pages[job.number] = PageInProgress(index, picture.size, cost, detokenizer)
            yield job

    def _request(self, picture: Image, instruction: str) -> tuple[Request, Cost]:
        prompt = self.processor.encode(instruction, [picture])
        room = self.context_length - len(prompt.ids)
        if room < 1:
            raise PromptError(
                f"The page takes {len(prompt.ids)} tokens. Expected fewer than the context "
                f"window of {self.context_length}; choose a mode with fewer."
            )
        (image,) = prompt.images.values()
        request = Request(
            ids=prompt.ids,
            max_tokens=min(self.max_tokens, room),
            sampling=Sampling(temperature=0.0),
            stop_ids=self.stop_ids,
            embed=self.processor.embed(prompt),
            guard=self.guard,
        )
        return request, Cost(image.plan.vision_tokens(picture.size))

    def _transcript(self, page: PageInProgress, finish: str = "") -> Transcript:
        if finish:
            page.detokenizer.finalize()
        text, cost = page.detokenizer.text, page.cost
        if finish:
            words = "\n".join(block.words for block in parse(text, page.size))
            cost = replace(cost, text_tokens=len(self.processor.tokenizer.encode(words)))
        return Transcript(page.index, text, finish, cost)


def drained(items: deque[Transcript]) -> Iterator[Transcript]:
    """What is in a queue, which is empty afterwards."""
    while items:
        yield items.popleft()
