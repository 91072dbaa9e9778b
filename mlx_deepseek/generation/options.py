"""What every call that generates may be told, checked in one place."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import mlx.core as mx
from PIL.Image import Image

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.sampling import Processor, Sampling, number

F = TypeVar("F", bound=Callable[..., Any])
# A path, bytes, a data URL or a Pillow image.
Picture = str | Path | bytes | Image
MOST_LOGPROBS = 1000


class GenerationOptions(TypedDict, total=False):
    """How an answer is written.

    `max_tokens` None is the recommended number; the context window limits both. `stop` strings end
    the answer, reasoning included, and are not part of it. The values of `Sampling` may be given
    together, as `sampling` (a `Sampling` or a dict), or one by one, which counts more.
    `logits_processors` change the logits [1, V] that follow the answer's tokens so far [n];
    `sampler` chooses a token [1] from log-probabilities [1, V]. With `logprobs`, a number of
    alternatives or True for none, every token comes with its log-probability. What the prompt
    shares with the last one comes from `prompt_cache` (None: the engine's own; `kept` is its
    older name).
    """

    max_tokens: int | None
    stop: str | Sequence[str] | None
    sampling: Sampling | Mapping[str, Any] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | None
    seed: int | None
    sampler: Callable[[mx.array], mx.array] | None
    logits_processors: Sequence[Processor] | None
    logprobs: int | bool | None
    prompt_cache: PromptCache | None
    kept: PromptCache | None


class AnswerOptions(GenerationOptions, total=False):
    """How a conversation is answered.

    `images` (paths, bytes, data URLs or Pillow images, one or several) open the last message;
    others may be parts of messages. `tools` are functions in the API's shape. `thinking` chooses
    the mode of models that have two, `effort` (V4 and later: "low", "high", "max") how long they
    think. `response_format` in the API's shape, or just "json", makes the answer JSON, of a schema
    if it has one: no other token can be chosen. In the same way `tool_choice`, "auto", "none",
    "required" or one tool in the API's shape, makes the answer calls that fit the tools' schemas,
    as calls of tools that are "strict" always do; `parallel_tool_calls` False allows one. With
    `call_pieces` calls come as they are written, in the chunks' `call_pieces`.
    """

    images: Picture | Sequence[Picture] | None
    tools: Sequence[Mapping[str, Any]] | None
    thinking: bool | None
    effort: str | None
    response_format: Mapping[str, Any] | str | None
    tool_choice: Mapping[str, Any] | str | None
    parallel_tool_calls: bool | None
    call_pieces: bool | None


class CompletionOptions(GenerationOptions, total=False):
    """How a text is gone on with.

    `files`, each a path and its content, are what the file at `path`, which is completed, is
    about: those that others need come first (arXiv:2401.14196 §2.2).
    """

    files: Sequence[tuple[str, str]]
    path: str


@dataclass(frozen=True)
class Settings:
    """Checked options of a generation; `max_tokens` and `cache` None take the engine's own."""

    sampling: Sampling
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    logprobs: int | None = None
    cache: PromptCache | None = None


def with_options(kind: type) -> Callable[[F], F]:
    """Shows the options of `kind` in the signature of a function that takes them by name."""

    def shown(function: F) -> F:
        signature = inspect.signature(function)
        listed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        listed += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
            for name, hint in kind.__annotations__.items()
        ]
        function.__signature__ = signature.replace(parameters=listed)  # type: ignore[attr-defined]
        return function

    return shown


def settings(options: Mapping[str, Any], kind: type = GenerationOptions) -> Settings:
    """The options of a generation, checked.

    Raises:
        PromptError: one that `kind` does not know, of another type, or outside its range.
    """
    for name in options:
        if name not in kind.__annotations__:
            near = difflib.get_close_matches(name, kind.__annotations__, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"Expected {', '.join(OPTIONS)}."
            raise PromptError(f"There is no option {name!r}. {remedy}")
    most = options.get("max_tokens")
    return Settings(
        sampling=sampling(options),
        max_tokens=None if most is None else number("max_tokens", most, 1, 1 << 31, int),
        stops=stops(options.get("stop")),
        logprobs=logprobs(options.get("logprobs")),
        cache=cache(options.get("prompt_cache", options.get("kept"))),
    )


def sampling(options: Mapping[str, Any]) -> Sampling:
    """What `sampling` says, and what is said one by one."""
    whole = options.get("sampling")
    if whole is None:
        whole = Sampling()
    elif isinstance(whole, Mapping):
        unknown = whole.keys() - SAMPLING_NAMES
        if unknown:
            raise PromptError(f"sampling has {sorted(map(str, unknown))}. {SAMPLING_EXPECTED}")
        whole = Sampling(**whole)
    if not isinstance(whole, Sampling):
        raise PromptError(f"sampling is {whole!r:.60}. {SAMPLING_EXPECTED}")
    single = {name: value for name, value in options.items() if name in SAMPLING_NAMES}
    if options.get("logits_processors") is not None:
        single["processors"] = options["logits_processors"]
    single = {name: value for name, value in single.items() if value is not None}
    return replace(whole, **single) if single else whole


def stops(value: Any) -> tuple[str, ...]:
    """Stop strings, of which there may be one, several or none."""
    if value is None or isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, Sequence) and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise PromptError(f"stop is {value!r:.60}. Expected a text or a list of texts.")


def logprobs(value: Any) -> int | None:
    """How many alternatives come with each token; None: not even its own log-probability."""
    if value is None or isinstance(value, bool):
        return 0 if value else None
    return number("logprobs", value, 0, MOST_LOGPROBS, int)


def cache(value: Any) -> PromptCache | None:
    """A prompt cache, made by `Engine.new_cache`."""
    if value is not None and not isinstance(value, PromptCache):
        raise PromptError(
            f"prompt_cache is {value!r:.60}. Expected what engine.new_cache() gives, or None."
        )
    return value


OPTIONS = tuple(AnswerOptions.__annotations__)
SAMPLING_NAMES = frozenset(one.name for one in fields(Sampling))
SAMPLING_EXPECTED = f"Expected a Sampling, or a dict with some of {', '.join(SAMPLING_NAMES)}."
