"""A loaded model with its tokenizer and prompt format: everything text goes through here."""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tokenizer_utils import TokenizerWrapper

from mlx_deepseek import insight
from mlx_deepseek.cache import KeptCache
from mlx_deepseek.caches import Caches, Caching
from mlx_deepseek.chat import Chat
from mlx_deepseek.checkpoint import evaluate
from mlx_deepseek.completion import Chunk, Completion, FinishReason, Usage
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generate import Request, tokens
from mlx_deepseek.insight import Routing, Selection
from mlx_deepseek.loading import Loaded, Prepared, load_prepared, prepare
from mlx_deepseek.progress import Progress
from mlx_deepseek.prompting import Picture, Prompt, Prompter, Rendered
from mlx_deepseek.prompts.coder import listing
from mlx_deepseek.reader import Reader
from mlx_deepseek.reading import ModelTranscriber, ReadPage, read
from mlx_deepseek.sampling import Sampling
from mlx_deepseek.structured import OBJECT, schema_of
from mlx_deepseek.worker import Worker, preparing_worker, shared_worker

__all__ = ["Caching", "Chat", "Chunk", "Completion", "Engine", "Prompt", "Usage", "load"]

T = TypeVar("T")

DEFAULT_MAX_TOKENS = 2048


def load(
    source: str | Path,
    *,
    recipe: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    caching: Caching | None = None,
    draft: str | Path | None = None,
    progress: Progress | None = None,
) -> "Engine":
    """Load "nano", an MLX folder, a Hugging Face folder, or a hub id.

    A Hugging Face checkpoint is converted once into the cache, with `recipe` or the default one;
    `dtype` without `recipe` computes with its own, unquantized values instead. `caching` says how
    prompts are kept and whether tokens are drafted, `draft` names a smaller model that drafts.
    `progress` is called with what is done ("download", "convert", "load") and bytes done and in
    total; "load" comes once, on the caller's thread, before weights are read. Other engines go on
    computing while this one is downloaded and converted.

    Raises:
        CheckpointError, ConfigError: the checkpoint is damaged, unknown or incomplete.
        MemoryLimitError: its weights do not fit into this machine's memory.
        DeepSeekError: not found, no network, no space.
    """
    worker = shared_worker()

    def prepared(name: str | Path, revision: str | None = None) -> Prepared:
        return preparing_worker().call(prepare, name, recipe, dtype, revision, progress)

    wanted = prepared(source, revision)
    drafting = prepared(draft) if draft is not None else None
    if progress is not None:
        progress("load", 0, wanted.nbytes + (drafting.nbytes if drafting else 0))

    def work() -> Engine:
        loaded = load_prepared(wanted)
        smaller = load_prepared(drafting) if drafting is not None else None
        return Engine(loaded, worker, Caches(loaded, caching or Caching(), smaller))

    return worker.call(work)


class Engine:
    """Generates text; any thread may call it, computation happens on one thread.

    `model` and `tokenizer` work in mlx-lm's functions. `entry` is the catalog's, or None.
    """

    def __init__(self, loaded: Loaded, worker: Worker, caches: Caches):
        self.name: str = loaded.name
        self.folder: Path = loaded.folder
        self.config: dict[str, Any] = loaded.config
        self.model: nn.Module = loaded.model
        self.prompt_format = loaded.prompt_format
        self.entry = loaded.entry
        self.context_length: int = loaded.context_length
        self.suggestions: list[str] = list(loaded.suggestions)
        self._prompter = Prompter(loaded)
        self._worker = worker
        self._caches = caches
        self._kept = caches.new()

    @property
    def tokenizer(self) -> TokenizerWrapper:
        """mlx-lm's wrapper around the checkpoint's tokenizer.

        Raises:
            CheckpointError: the checkpoint has none; token ids still work.
        """
        return self._prompter.tokenizer

    @property
    def sees(self) -> bool:
        """Whether prompts may have pictures, and documents can be read."""
        return self._prompter.eyes is not None

    @property
    def modes(self) -> tuple[str, ...]:
        """Names for `read`'s option `mode`; none where pictures are cut in one way only."""
        return self._prompter.modes

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        """The whole answer to a user's text or a conversation; options as in `stream`."""
        return self.collect(self.stream(prompt, **options))

    def stream(
        self,
        prompt: Prompt,
        *,
        images: Sequence[Picture] = (),
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        tools: Sequence[dict[str, Any]] | None = None,
        thinking: bool | None = None,
        response_format: dict[str, Any] | None = None,
        stop: str | Sequence[str] = (),
        kept: KeptCache | None = None,
    ) -> Generator[Chunk]:
        """The answer in pieces; closing the generator stops at once.

        `images` (paths, bytes, data URLs or Pillow images) open the last message; others may be
        parts of messages. `max_tokens` None is the recommended number; the context window limits
        both. `stop` strings end the answer, reasoning included, and are not part of it. `thinking`
        chooses the mode of models that have two. `response_format` in the API's shape makes the
        answer JSON, of a schema if it has one: no other token can be chosen. A last message of the
        assistant with "prefix" true is gone on with; only what is new comes. What the prompt shares
        with the last one comes from the cache `kept` (None: the engine's own).

        Raises:
            PromptError: the format cannot express the prompt, it does not fit the window, or the
                schema is wrong.
            ImageError: a picture cannot be read.
        """
        schema = schema_of(response_format)
        asked = True if schema is OBJECT else schema or False
        options = {"tools": tools, "thinking": thinking, "json_output": asked}
        rendered = self._prompter.render(prompt, images, **options)
        mask = None if schema is None else self._prompter.mask(schema, rendered.begun, thinking)
        parser = self.prompt_format.parser(thinking)
        return self._stream(rendered, parser, max_tokens, sampling, stop, kept, mask)

    @property
    def fills(self) -> bool:
        """Whether `complete` takes a suffix."""
        return self._prompter.fills

    def complete(self, prefix: str, suffix: str = "", **options: Any) -> Completion:
        """What comes between `prefix` and `suffix`; options as in `stream_completion`."""
        return self.collect(self.stream_completion(prefix, suffix, **options))

    def stream_completion(
        self,
        prefix: str,
        suffix: str = "",
        *,
        files: Sequence[tuple[str, str]] = (),
        path: str = "",
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
        kept: KeptCache | None = None,
    ) -> Generator[Chunk]:
        """What comes between `prefix` and `suffix`, in pieces; without suffix, after `prefix`.

        `files`, each a path and its content, are what the file at `path`, which is completed, is
        about: those that others need come first (arXiv:2401.14196 §2.2).

        Raises:
            PromptError: the model cannot fill in, or the prompt does not fit the window.
        """
        if path:
            prefix = listing([*files, (path, prefix)])
        prompter = self._prompter
        ids = prompter.fill(prefix, suffix) if suffix else prompter.continued(prefix)
        return self._stream(Rendered(ids), None, max_tokens, sampling, stop, kept)

    def chat(self, system: str | None = None, **options: Any) -> Chat:
        """A conversation that keeps its own cache; options as in `stream`, for every turn."""
        return Chat(self, system, **options)

    def new_cache(self) -> KeptCache:
        """An empty prompt cache, for `stream`'s option `kept`."""
        return self._caches.new()

    def logits(self, prompt: Prompt, images: Sequence[Picture] = ()) -> mx.array:
        """Teacher-forced logits, float32 [L, V], of token ids or of a rendered prompt."""
        return self._whole(self.model, self._prompter.render(prompt, images))

    def mtp_logits(self, prompt: Prompt) -> mx.array:
        """The first MTP layer's logits, float32 [L - 1, V]; row i predicts token i + 2.

        Raises:
            ConfigError: the checkpoint has no MTP layer.
        """
        if not hasattr(self.model, "mtp_logits"):
            raise PromptError(f"{self.name}: this architecture has no multi-token prediction.")
        return self._whole(self.model.mtp_logits, self._prompter.render(prompt))

    def routing(self, prompt: Prompt, images: Sequence[Picture] = ()) -> Routing:
        """Which experts the prompt's tokens choose in each MoE layer; empty without such layers."""
        rendered = self._prompter.render(prompt, images)
        return self._seen(rendered, insight.watched, insight.routing)

    def selection(self, prompt: Prompt) -> Selection:
        """Which tokens before them the prompt's tokens choose; of no layers without indexers."""
        rendered = self._prompter.render(prompt)
        tokens = len(rendered.ids)
        return self._seen(rendered, insight.indexed, lambda seen: insight.selection(seen, tokens))

    def read(
        self,
        *sources: Picture,
        mode: str | None = None,
        batch: int = 4,
        max_tokens: int | None = None,
        **options: Any,
    ) -> Generator[ReadPage]:
        """The pages of PDFs and pictures as they are read, `batch` at a time.

        `mode` names how pages are cut; `options` as in `reading.read`: `prompt`, `password`,
        `wanted`. Pages that cannot be read come with an error; the others follow.

        Raises:
            PromptError: the model reads no pictures, or the prompt is empty.
            ImageError: the model does not have this mode.
        """
        transcriber = ModelTranscriber(
            self.model,
            self._prompter,
            self.context_length,
            rows=batch,
            mode=mode,
            max_tokens=max_tokens,
        )
        evaluate(self.model)
        return self._worker.iterate(read(transcriber, sources, **options))

    def encode(self, text: str) -> list[int]:
        """Tokens of a rendered prompt: special tokens are written out in it, none are added."""
        return self._prompter.encode(text)

    def collect(self, chunks: Iterator[Chunk]) -> Completion:
        """Join a stream into one completion."""
        text, reasoning, calls = [], [], []
        usage = Usage()
        reason: FinishReason = "stop"
        for chunk in chunks:
            text.append(chunk.text)
            reasoning.append(chunk.reasoning)
            calls += chunk.tool_calls
            usage, reason = chunk.usage, chunk.finish_reason or reason
        return Completion("".join(text), "".join(reasoning), tuple(calls), usage, reason)

    def _stream(
        self,
        rendered: Rendered,
        parser: Any,
        max_tokens: int | None,
        sampling: Sampling | None,
        stop: str | Sequence[str],
        kept: KeptCache | None,
        mask: Any = None,
    ) -> Generator[Chunk]:
        stops = [stop] if isinstance(stop, str) else list(stop)
        request = Request(
            ids=rendered.ids,
            max_tokens=self._limit(len(rendered.ids), max_tokens),
            sampling=self._recommended(sampling),
            stop_ids=frozenset(self.tokenizer.eos_token_ids),
            embed=self._prompter.embed(rendered),
            mask=mask,
        )
        evaluate(self.model)  # the caller may have added adapters
        reader = Reader(self.tokenizer.detokenizer, parser, (*self.prompt_format.stop, *stops))
        if rendered.begun:
            reader.resume(rendered.begun, rendered.ids[-1])
        return self._worker.iterate(self._chunks(request, reader, kept or self._kept))

    def _chunks(self, request: Request, reader: Reader, kept: KeptCache) -> Iterator[Chunk]:
        """Runs on the worker's thread."""
        if kept.busy:  # two streams are open: the second starts from nothing
            kept = self.new_cache()
        kept.busy = True
        steps = tokens(self.model, request, kept)
        usage = Usage()
        reason: FinishReason = "length"
        try:
            for step in steps:
                usage = step.usage
                if step.token in request.stop_ids:
                    reason = "stop"
                    break
                chunk = reader.read(step)
                if step.token is None or chunk.text or chunk.reasoning or chunk.tool_calls:
                    yield chunk
                if reader.stopped:
                    break
            yield reader.finish(usage, reason)
        finally:
            steps.close()  # type: ignore[attr-defined]
            kept.busy = False

    def _limit(self, prompt_tokens: int, max_tokens: int | None) -> int:
        if max_tokens is not None and max_tokens < 1:
            raise PromptError(f"max_tokens is {max_tokens}. Expected at least 1.")
        room = self.context_length - prompt_tokens
        if not prompt_tokens or room < 1:
            raise PromptError(
                f"{self.name}: the prompt has {prompt_tokens} tokens. Expected 1 to "
                f"{self.context_length - 1}, to leave room for an answer in the context window of "
                f"{self.context_length}; shorten the conversation."
            )
        recommended = getattr(getattr(self.entry, "sampling", None), "max_tokens", None)
        return min(max_tokens or recommended or DEFAULT_MAX_TOKENS, room)

    def _recommended(self, sampling: Sampling | None) -> Sampling:
        advice = getattr(self.entry, "sampling", None)
        return (sampling or Sampling()).filled(
            getattr(advice, "temperature", None), getattr(advice, "top_p", None)
        )

    def _seen(self, rendered: Rendered, watch: Any, summary: Callable[[Any], T]) -> T:
        seen: list[T] = []

        def function(ids: mx.array, **options: Any) -> mx.array:
            with watch(self.model) as watching:
                out = self.model(ids, **options)
                mx.eval(out)
                seen.append(summary(watching))
            return out

        self._whole(function, rendered)
        return seen[-1]

    def _whole(self, function: Any, rendered: Rendered) -> mx.array:
        evaluate(self.model)
        request = Request(rendered.ids, 1, Sampling(), frozenset(), self._prompter.embed(rendered))

        def compute() -> mx.array:
            ids, embeddings = request.part(0, len(rendered.ids))
            seeing = {} if embeddings is None else {"input_embeddings": embeddings}
            out = function(ids, **seeing)[0].astype(mx.float32)
            mx.eval(out)
            return out

        return self._worker.call(compute)
