"""Answers that fit by construction: only tokens that a schema or a tool call allows can be chosen.

llguidance keeps the grammar's state and says which tokens may come next; reasoning stays free.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import mlx.core as mx
import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from mlx_deepseek.checkpoint.tokenizer import Tokenizer
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.closed_schema import closed
from mlx_deepseek.prompts.call_grammar import BLANKS, Rules
from mlx_deepseek.prompts.control_tokens import well_formed
from mlx_deepseek.prompts.special_tokens import DSML, THINK_CLOSE, THINK_OPEN

OBJECT: Mapping[str, Any] = {"type": "object"}
Schema = Mapping[str, Any]


def schema_of(response_format: Any) -> Schema | None:
    """The JSON schema that a `response_format` in the API's shape asks for; None for plain text.

    Raises:
        PromptError: another type than text, json_object and json_schema, or no schema.
    """
    match response_format:
        case None | "text" | {"type": "text"}:
            return None
        case "json" | "json_object" | {"type": "json_object"}:
            return OBJECT
        case {"type": "json_schema", "json_schema": {"schema": Mapping() as schema}}:
            return closed(well_formed(schema))
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


class Vocabulary:
    """A tokenizer as llguidance wants it: the bytes of every token, and which ones are no text."""

    def __init__(self, tokenizer: Tokenizer):
        # DSML stands inside tags that are text otherwise, and is read as text.
        controls = (tokenizer.token_id(text) for text in tokenizer.controls if DSML not in text)
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.size)]
        self.special_token_ids = sorted(token for token in controls if token is not None)
        self.bos_token_id = tokenizer.bos_token_id
        self.eos_token_id = tokenizer.eos_token_id or min(tokenizer.eos_token_ids)
        self._encode = tokenizer.encode

    def __call__(self, text: bytes) -> list[int]:
        """Token numbers of a text."""
        return self._encode(text.decode("utf-8", "replace"))


class Grammars:
    """Makes masks for answers in one tokenizer's tokens."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._controls = [text for text in tokenizer.controls if DSML not in text]
        self._stops = sorted(tokenizer.eos_token_ids)
        self._tokens = LLTokenizer(TokenizerWrapper(Vocabulary(tokenizer)), eos_token=self._stops)
        self._matcher = lru_cache(maxsize=8)(self._compile)

    def mask(self, schema: Schema, thoughts: Thoughts, begun: Sequence[int] = ()) -> "GrammarMask":
        """A mask for an answer whose JSON has `begun` with these tokens.

        Raises:
            PromptError: the schema is wrong, or the beginning does not fit it.
        """
        grammar = LLMatcher.grammar_from_json_schema(dict(schema), defaults=BLANKS)  # type: ignore[arg-type]
        return self._mask(grammar, thoughts, begun)

    def rules(self) -> Rules:
        """An empty grammar, to which rules are added."""
        return Rules(self._literal)

    def rules_mask(
        self, rules: Rules, start: str, thoughts: Thoughts, after: str = ""
    ) -> "GrammarMask":
        """A mask for an answer that is one of `start`, or for what follows the text `after`.

        Raises:
            PromptError: a schema in it is wrong.
        """
        grammar = LLMatcher.grammar_from_lark(rules.grammar(start))
        return self._mask(grammar, thoughts, after=after)

    def _mask(
        self, grammar: str, thoughts: Thoughts, begun: Sequence[int] = (), after: str = ""
    ) -> "GrammarMask":
        matcher = self._matcher(grammar).deep_copy()
        if matcher.try_consume_tokens(list(begun)) < len(begun):
            raise PromptError(
                "The answer that is to be gone on with does not fit the schema. Ask again instead."
            )
        bits = allocate_token_bitmask(1, self._tokens.vocab_size)
        trigger = Trigger(after, self._tokenizer) if after else None
        return GrammarMask(matcher, thoughts, self._stops, bits, trigger)

    def _compile(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._tokens, grammar)
        if matcher.is_error():
            reason = matcher.get_error().strip().partition("\n")[0]
            raise PromptError(f"The JSON schema cannot be used: {reason}.")
        return matcher

    def _literal(self, text: str) -> str:
        """A text in llguidance's dialect: control tokens by their numbers, line ends apart.

        The lexer takes the longest: where "\\n" may stand alone, nothing longer may begin so.
        """
        apart = "|".join(map(re.escape, [*self._controls, "\n"]))
        parts = [part for part in re.split(f"({apart})", text) if part]
        return " ".join(
            f"<[{self._tokenizer.token_id(part)}]>"
            if part in self._controls
            else json.dumps(part, ensure_ascii=False)
            for part in parts
        )


class Trigger:
    """Looks for a text in tokens as they come."""

    def __init__(self, text: str, tokenizer: Tokenizer):
        self._text = text.encode()
        self._tokenizer = tokenizer
        self._tail = b""

    def after(self, token: int) -> list[int] | None:
        """Once the text is complete, the tokens of what has already come after it."""
        self._tail += self._tokenizer.token_bytes(token)
        _, found, rest = self._tail.partition(self._text)
        if not found:
            self._tail = self._tail[-len(self._text) :]
            return None
        return self._tokenizer.encode(rest.decode("utf-8", "replace"))


class GrammarMask:
    """A logits processor: -inf for all tokens that do not fit.

    Reasoning is free, but the answer cannot end in it. With a trigger everything before its text
    is free, and may be all.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        thoughts: Thoughts,
        stops: Sequence[int],
        bits: np.ndarray,
        trigger: Trigger | None = None,
    ):
        self._trigger = trigger
        self._matcher = matcher
        self._stops = mx.array(list(stops))
        self._closing = thoughts.closing
        self._opening = thoughts.opening  # None once it cannot come any more
        self._free = thoughts.opened
        self._bits = bits
        self._seen = 0

    def __call__(self, ids: mx.array, logits: mx.array) -> mx.array:
        """Logits [1, V], masked; `ids` are the answer so far."""
        new: Any = ids[self._seen :].tolist()
        for token in new:
            self._take(token)
        self._seen += len(new)
        if self._trigger is not None:
            return logits
        if self._free:
            logits[:, self._stops] = -mx.inf
            return logits
        return mx.where(self._allowed(logits.shape[-1]), logits, -mx.inf)

    def _take(self, token: int) -> None:
        if self._trigger is not None:
            if (begun := self._trigger.after(token)) is not None:
                self._trigger = None
                self._matcher.try_consume_tokens(begun)
        elif self._free:
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
