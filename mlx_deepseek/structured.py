"""Answers that are JSON by construction: only tokens that a schema allows can be chosen.

llguidance keeps the grammar's state and says which tokens may come next; reasoning stays free.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import mlx.core as mx
import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.markers import THINK_CLOSE, THINK_OPEN

OBJECT: Mapping[str, Any] = {"type": "object"}
# A blank, or a line that is indented: without a limit a model may write blanks for ever.
BLANKS = {"whitespace_pattern": r" |\n {0,40}"}

Schema = Mapping[str, Any]


def schema_of(response_format: Mapping[str, Any] | None) -> Schema | None:
    """The JSON schema that a `response_format` in the API's shape asks for; None for plain text.

    Raises:
        PromptError: another type than text, json_object and json_schema, or no schema.
    """
    if response_format is None:
        return None
    match dict(response_format):
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return OBJECT
        case {"type": "json_schema", "json_schema": {"schema": Mapping() as schema}}:
            return schema
    raise PromptError(
        f"response_format is {response_format!r:.80}. Expected a dict with the type text, "
        'json_object, or json_schema and then "json_schema": {"schema": {...}}.'
    )


@dataclass(frozen=True)
class Thoughts:
    """Tokens around reasoning, and whether the prompt `opened` it.

    Where it did not, the answer may begin with the `opening` one, if there is one.
    """

    opened: bool = False
    opening: int | None = None
    closing: int | None = None


def unthought(begun: str, thoughts: Thoughts) -> tuple[str, Thoughts]:
    """Of the beginning of an answer what is JSON, and what reasoning may still come."""
    _, closing, after = begun.rpartition(THINK_CLOSE)
    if closing:
        return after.lstrip(), Thoughts()
    if thoughts.opened or THINK_OPEN in after:
        return "", replace(thoughts, opened=True, opening=None)
    return after.lstrip(), replace(thoughts, opening=None) if after.strip() else thoughts


class Grammars:
    """Makes masks for answers in one tokenizer's tokens."""

    def __init__(self, tokenizer: Any, stop_ids: Iterable[int]):
        text = tokenizer.backend_tokenizer.to_str()
        self._stops = sorted(stop_ids)
        self._tokens = LLTokenizer(text, eos_token=self._stops)
        self._matcher = lru_cache(maxsize=8)(self._compile)

    def mask(self, schema: Schema, thoughts: Thoughts, begun: Sequence[int] = ()) -> "JSONMask":
        """A mask for an answer whose JSON has `begun` with these tokens.

        Raises:
            PromptError: the schema is wrong, or the beginning does not fit it.
        """
        grammar = LLMatcher.grammar_from_json_schema(dict(schema), defaults=BLANKS)  # type: ignore[arg-type]
        matcher = self._matcher(grammar).deep_copy()
        if matcher.try_consume_tokens(list(begun)) < len(begun):
            raise PromptError(
                "The answer that is to be gone on with does not fit the schema. Ask again instead."
            )
        bits = allocate_token_bitmask(1, self._tokens.vocab_size)
        return JSONMask(matcher, thoughts, self._stops, bits)

    def _compile(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._tokens, grammar)
        if matcher.is_error():
            reason = matcher.get_error().strip().partition("\n")[0]
            raise PromptError(f"The JSON schema cannot be used: {reason}.")
        return matcher


class JSONMask:
    """A logits processor for mlx-lm's loop: -inf for all tokens that do not fit.

    Reasoning is free, but the answer cannot end in it.
    """

    def __init__(
        self, matcher: LLMatcher, thoughts: Thoughts, stops: Sequence[int], bits: np.ndarray
    ):
        self._matcher = matcher
        self._stops = mx.array(list(stops))
        self._closing = thoughts.closing
        self._opening = thoughts.opening  # None once it cannot come any more
        self._free = thoughts.opened
        self._bits = bits
        self._seen = 1  # the prompt's last token

    def __call__(self, ids: mx.array, logits: mx.array) -> mx.array:
        """Logits [1, V], masked; `ids` are the prompt's last token and the answer so far."""
        new: Any = ids[self._seen :].tolist()
        for token in new:
            self._take(token)
        self._seen += len(new)
        if self._free:
            logits[:, self._stops] = -mx.inf
            return logits
        return mx.where(self._allowed(logits.shape[-1]), logits, -mx.inf)

    def _take(self, token: int) -> None:
        if self._free:
            self._free = token != self._closing
        elif token == self._opening:
            self._free = True
        elif not self._matcher.is_stopped():
            self._matcher.consume_token(token)
        self._opening = None

    def _allowed(self, width: int) -> mx.array:
        fill_next_token_bitmask(self._matcher, self._bits)
        known = np.unpackbits(self._bits[0].view(np.uint8), bitorder="little")[:width]
        allowed = np.zeros(width, dtype=np.bool_)
        allowed[: len(known)] = known
        if self._opening is not None:
            allowed[self._opening] = True
        return mx.array(allowed)  # type: ignore[arg-type]
