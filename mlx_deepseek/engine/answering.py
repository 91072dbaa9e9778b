"""Answers and completions of a loaded model: whole, in pieces, awaited, many at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Unpack, overload

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.cache.report import CacheReport
from mlx_deepseek.checkpoint.load_weights import evaluate
from mlx_deepseek.engine.caching import Caches
from mlx_deepseek.engine.chat import Chat
from mlx_deepseek.engine.inspect import Inspection
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.counts import SchedulerCounts
from mlx_deepseek.generation.dispatcher import Dispatcher
from mlx_deepseek.generation.grammar import OBJECT, schema_of
from mlx_deepseek.generation.job import END, Activity, Generation, Mailbox
from mlx_deepseek.generation.options import (
    AnswerOptions,
    CompletionOptions,
    Settings,
    settings,
    with_options,
)
from mlx_deepseek.generation.output import OutputStream
from mlx_deepseek.generation.prompt import EncodedPrompt, Prompt, plain_prompt
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.results import Accumulator, Chunk, Completion, collect
from mlx_deepseek.generation.sampling import number
from mlx_deepseek.generation.stream import AsyncStream, Stream
from mlx_deepseek.generation.tool_choice import described, tool_choice
from mlx_deepseek.prompts.formats.coder import listing
from mlx_deepseek.prompts.parser import OutputParser

DEFAULT_MAX_TOKENS = 2048
MOST_ANSWERS = 1024


class Answering(Inspection):
    """What an engine writes."""

    entry: Any
    context_length: int
    prompt_format: Any
    _dispatcher: Dispatcher
    _caches: Caches

    def new_cache(self) -> PromptCache:
        """An empty prompt cache, for the option `prompt_cache`."""
        raise NotImplementedError

    def _open(self) -> None:
        raise NotImplementedError

    @overload
    def generate(
        self, prompt: list[str], *, n: int = 1, **options: Unpack[AnswerOptions]
    ) -> list[Completion]: ...

    @overload
    def generate(
        self, prompt: Prompt, *, n: int = 1, **options: Unpack[AnswerOptions]
    ) -> Completion: ...

    @with_options(AnswerOptions)
    def generate(self, prompt: Any, *, n: int = 1, **options: Unpack[AnswerOptions]) -> Any:
        """The whole answer to a user's text or a conversation; options as in `stream`.

        A list of texts gives a list of answers. With `n` the completion has that many answers, the
        others in `alternatives`; from one `seed`, each has a seed of its own.
        """
        if isinstance(prompt, list) and prompt and all(isinstance(one, str) for one in prompt):
            return self.batch(prompt, n=n, **options)
        return self.batch([prompt], n=n, **options)[0]

    @with_options(AnswerOptions)
    def stream(self, prompt: Prompt, **options: Unpack[AnswerOptions]) -> Stream:
        """The answer in pieces; closing the stream stops at once.

        Options are those of `AnswerOptions`, e.g. `max_tokens`, `temperature`, `seed`, `stop`,
        `images`, `tools`, `thinking`, `response_format`. A last message of the assistant with
        "prefix" true is continued; only what is new comes.

        Raises:
            PromptError: the format cannot express the prompt, it does not fit the window, or an
                option is wrong.
            ImageError: a picture cannot be read.
        """
        return self._stream(self._answer(prompt, options))

    @with_options(AnswerOptions)
    def batch(
        self, prompts: Sequence[Prompt], *, n: int = 1, **options: Unpack[AnswerOptions]
    ) -> list[Completion]:
        """The answers to several prompts, in their order, written together.

        Options as in `generate`, for all of them.
        """
        self._open()
        count = number("n", n, 1, MOST_ANSWERS, int)
        seed = settings(options, AnswerOptions).sampling.seed
        rows: list[Any] = [options]
        if seed is not None:
            rows = [{**options, "seed": (seed + i) % 2**64} for i in range(count)]
        mailbox = Mailbox()
        jobs = (
            self._answer(prompt, rows[i % len(rows)], mailbox)
            for prompt in prompts
            for i in range(count)
        )
        found: dict[int, Accumulator] = {}
        most = self._dispatcher.scheduler.streams
        for job, item in self._dispatcher.together(jobs, mailbox, most):
            answer = found.setdefault(job.number, Accumulator())
            if item is not END:
                answer.add(item)
        done = [found[number].completion for number in sorted(found)]
        groups = [done[i : i + count] for i in range(0, len(done), count)]
        return [replace(first, alternatives=tuple(more)) for first, *more in groups]

    @with_options(AnswerOptions)
    def astream(self, prompt: Prompt, **options: Unpack[AnswerOptions]) -> AsyncStream:
        """As `stream`, for `async for`; errors come with the first chunk.

        Closing the stream, or cancelling the task that waits for a chunk, stops the generation.
        """
        return AsyncStream(lambda: self._dispatcher.astream(self._answer(prompt, options)))

    @with_options(CompletionOptions)
    def complete(
        self, prefix: str, suffix: str = "", **options: Unpack[CompletionOptions]
    ) -> Completion:
        """What comes between `prefix` and `suffix`; options as in `stream_completion`."""
        return collect(self.stream_completion(prefix, suffix, **options))

    @with_options(CompletionOptions)
    def stream_completion(
        self, prefix: str, suffix: str = "", **options: Unpack[CompletionOptions]
    ) -> Stream:
        """What comes between `prefix` and `suffix`, in pieces; without suffix, after `prefix`.

        `files`, each a path and its content, are what the file at `path`, which is completed, is
        about: those that others need come first (arXiv:2401.14196 §2.2).

        Raises:
            PromptError: the model cannot fill in, the prompt does not fit the window, or an option
                is wrong.
        """
        return self._stream(self._completion(prefix, suffix, options))

    @with_options(CompletionOptions)
    def astream_completion(
        self, prefix: str, suffix: str = "", **options: Unpack[CompletionOptions]
    ) -> AsyncStream:
        """As `stream_completion`, for `async for`; otherwise as `astream`."""
        return AsyncStream(
            lambda: self._dispatcher.astream(self._completion(prefix, suffix, options))
        )

    @with_options(AnswerOptions)
    def chat(self, system: str | None = None, **options: Unpack[AnswerOptions]) -> Chat:
        """A conversation; options as in `stream`, for every turn."""
        self._open()
        return Chat(self, system, **options)

    @property
    def activity(self) -> list[Activity]:
        """Every request that waits, is read or is answered, oldest first."""
        self._open()
        return [job.activity for job in self._dispatcher.scheduler.jobs]

    @property
    def counts(self) -> SchedulerCounts:
        """Requests and tokens since the model was loaded."""
        self._open()
        return replace(self._dispatcher.scheduler.counts)

    def cache_report(self) -> CacheReport:
        """What of the newest prompts came from a cache and why not more, and what is kept."""
        self._open()
        return self._caches.report()

    @with_options(AnswerOptions)
    def count_tokens(self, prompt: Prompt, **options: Unpack[AnswerOptions]) -> int:
        """Tokens of a prompt as `stream` reads it, whether they fit the window or not."""
        self._open()
        return len(self._encoded(prompt, options).ids)

    def collect(self, chunks: Iterable[Chunk]) -> Completion:
        """Join a stream into one completion."""
        return collect(chunks)

    def _stream(self, job: Generation) -> Stream:
        chunks, cancel = self._dispatcher.stream(job), partial(self._dispatcher.cancel, job)
        return Stream(chunks, cancel, lambda: job.activity)

    def _answer(self, prompt: Prompt, options: Any, mailbox: Mailbox | None = None) -> Generation:
        """What answers a prompt, ready to start."""
        chosen = settings(options, AnswerOptions)
        thinking, schema = options.get("thinking"), schema_of(options.get("response_format"))
        choice = self._choice(options)
        encoded = self._encoded(prompt, options)
        mask = self.processor.mask(schema, encoded, choice)
        parser = self.prompt_format.parser(
            thinking,
            prompt=encoded.rendered,
            stops=(*self.prompt_format.stop, *chosen.stops),
            calls=choice is not None,
            in_pieces=bool(options.get("call_pieces")),
        )
        return self._job(encoded, parser, chosen, mask, mailbox)

    def _choice(self, options: Any) -> Any:
        return tool_choice(
            options.get("tools"), options.get("tool_choice"), options.get("parallel_tool_calls")
        )

    def _encoded(self, prompt: Prompt, options: Any) -> EncodedPrompt:
        """A prompt's numbers, with all that options put into it."""
        thinking = options.get("thinking")
        if thinking is not None and not isinstance(thinking, bool):
            raise PromptError(f"thinking is {thinking!r:.60}. Expected True, False or None.")
        schema = schema_of(options.get("response_format"))
        called = self._choice(options) is not None
        return self.processor.encode(
            prompt,
            options.get("images"),
            tools=described(options.get("tools")) if called else None,
            thinking=thinking,
            json_output=True if schema is OBJECT else schema or False,
            effort=options.get("effort"),
        )

    def _completion(self, prefix: str, suffix: str, options: Any) -> Generation:
        """What goes on with a text, or fills a gap, ready to start."""
        chosen = settings(options, CompletionOptions)
        prefix, suffix = plain_prompt(prefix), plain_prompt(suffix)
        if not (isinstance(prefix, str) and isinstance(suffix, str)):
            raise PromptError(f"The text to complete is {prefix!r:.60}. Expected texts.")
        path = options.get("path")
        if path:
            prefix = listing([*(options.get("files") or ()), (path, prefix)])
        processor = self.processor
        ids = processor.fill(prefix, suffix) if suffix else processor.continued(prefix)
        parser = OutputParser(trim=False, stops=(*self.prompt_format.stop, *chosen.stops))
        return self._job(EncodedPrompt(ids), parser, chosen)

    def _job(
        self,
        prompt: EncodedPrompt,
        parser: OutputParser,
        chosen: Settings,
        mask: Any = None,
        mailbox: Mailbox | None = None,
    ) -> Generation:
        self._open()
        advice = getattr(self.entry, "sampling", None)
        request = Request(
            ids=prompt.ids,
            max_tokens=self._limit(len(prompt.ids), chosen.max_tokens),
            sampling=chosen.sampling.filled(
                getattr(advice, "temperature", None), getattr(advice, "top_p", None)
            ),
            stop_ids=self.processor.tokenizer.eos_token_ids,
            embed=self.processor.embed(prompt),
            mask=mask,
            logprobs=chosen.logprobs,
            guard=self.processor.guard,
        )
        evaluate(self.model)  # the caller may have added adapters
        note = partial(self.processor.note, prompt)
        output = OutputStream(self.processor.tokenizer, parser, request.stop_ids, note)
        return Generation(request, output, chosen.cache, mailbox or Mailbox())

    def _limit(self, prompt_tokens: int, max_tokens: int | None) -> int:
        room = self.context_length - prompt_tokens
        if not prompt_tokens or room < 1:
            raise PromptError(
                f"{self.name}: the prompt has {prompt_tokens} tokens. Expected 1 to "
                f"{self.context_length - 1}, to leave room for an answer in the context window of "
                f"{self.context_length}; shorten the conversation."
            )
        recommended = getattr(getattr(self.entry, "sampling", None), "max_tokens", None)
        return min(max_tokens or recommended or DEFAULT_MAX_TOKENS, room)
