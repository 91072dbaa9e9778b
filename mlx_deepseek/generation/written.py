"""Answers as they were written: a conversation that comes back gets the tokens that were sampled.

A text may be spelled by other tokens than its tokenizer would choose, and the model's caches hold
those it has chosen. So a prompt that begins with the text of an earlier one and its answer begins
with their tokens, and only what follows is encoded.
"""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

# Tokens that are remembered, of all conversations together: 4 MiB.
MOST_TOKENS = 1 << 20


class WrittenTokens:
    """Tokens by the text they spell; any thread may ask."""

    def __init__(self, most_tokens: int = MOST_TOKENS):
        self._most_tokens = most_tokens
        self._known: OrderedDict[tuple[int, bytes], array] = OrderedDict()  # oldest first
        self._tokens = 0
        self._lock = threading.Lock()

    def note(self, text: str, ids: Sequence[int]) -> None:
        """Remember by which tokens a text was spelled, which ends where no token goes on."""
        content = text.encode("utf-8", "surrogatepass")
        key = len(content), blake2b(content, digest_size=16).digest()
        with self._lock:
            self._tokens -= len(self._known.pop(key, ()))
            self._known[key] = array("i", ids)
            self._tokens += len(ids)
            while self._tokens > self._most_tokens:
                self._tokens -= len(self._known.popitem(last=False)[1])

    def encode(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        """The tokens of a text: of its longest known beginning as they were, then encoded."""
        content = text.encode("utf-8", "surrogatepass")
        length, ids = self._beginning(content)
        if not length:
            return encode(text)
        return [*ids, *encode(content[length:].decode("utf-8", "surrogatepass"))]

    def _beginning(self, content: bytes) -> tuple[int, Sequence[int]]:
        """Bytes of the longest known beginning, and its tokens."""
        with self._lock:
            lengths = sorted({length for length, _ in self._known if length <= len(content)})
            digest, done, found = blake2b(digest_size=16), 0, None
            for length in lengths:
                digest.update(content[done:length])
                done, key = length, (length, digest.digest())
                if key in self._known:
                    found = key
            if found is None:
                return 0, ()
            self._known.move_to_end(found)
            return found[0], self._known[found]
