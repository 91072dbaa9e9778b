"""No n-gram twice: what keeps a reader of endless lists and empty tables from going in circles.

Sizes and exceptions are those with which DeepSeek-OCR's authors read PDFs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx

SIZE, WINDOW = 20, 50
# Cells of tables may be alike.
MAY_REPEAT = ("<td>", "</td>")


@dataclass(frozen=True)
class NoRepeat:
    """A logits processor: no `size` tokens that the last `window` already have, in this order.

    Tokens in `allowed` may always come.
    """

    size: int = SIZE
    window: int = WINDOW
    allowed: frozenset[int] = frozenset()

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        """Logits [1, vocab] of what follows `tokens` [L], -inf where it would repeat."""
        if tokens.size < self.size:
            return logits
        banned = self.banned(tokens[-self.window :].tolist())  # type: ignore[arg-type]
        if banned:
            logits[:, mx.array(banned)] = -mx.inf
        return logits

    def banned(self, recent: list[int]) -> list[int]:
        """What followed earlier where the text was as it is at its end."""
        prefix = recent[len(recent) - self.size + 1 :]
        ends = range(self.size - 1, len(recent))
        found = {recent[end] for end in ends if recent[end - self.size + 1 : end] == prefix}
        return sorted(found - self.allowed)


def for_vocabulary(vocabulary: Mapping[str, int]) -> NoRepeat:
    """The processor for a tokenizer."""
    return NoRepeat(allowed=frozenset(vocabulary[t] for t in MAY_REPEAT if t in vocabulary))
