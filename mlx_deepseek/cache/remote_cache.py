"""What other machines hold of a prompt or a batch: they are told what is done with ours.

A model that is split over several machines has caches on each. This one decides; the others do the
same to theirs, by number.
"""

import itertools
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx
from mlx_lm.models.cache import create_attention_mask

_numbers = itertools.count(1)


class Followers(Protocol):
    """The machines that do as this one does; what they are told counts before their next step.

    `forgets`: their caches do not go back to every token.
    """

    forgets: bool

    def tell(self, deed: str, **facts: Any) -> None:
        """Have something done to what they hold."""
        ...

    def least(self, deed: str, **facts: Any) -> int:
        """The least of what they answer."""
        ...

    def forget(self, cache: int) -> None:
        """Nobody needs what they hold by a number any more."""
        ...


class RemoteCache:
    """In the list of a model's caches, what followers hold of the same tokens.

    `number` is its name there; `offset` counts tokens as in our own caches.
    """

    def __init__(self, followers: Followers, deed: str, **facts: Any):
        self.followers = followers
        self.number = next(_numbers)
        self.offset = 0
        self._used = False
        followers.tell(deed, cache=self.number, **facts)
        weakref.finalize(self, followers.forget, self.number)

    def to_quantized(self, group_size: int = 64, bits: int = 4) -> "RemoteCache":
        """An empty one of so many bits; groups are as each layer's widths allow."""
        return RemoteCache(self.followers, "new", bits=bits)

    def advance(self, tokens: int) -> None:
        """Account for a step of so many tokens, which followers append by themselves."""
        self.offset += tokens
        self._used = True

    def reserve(self, tokens: int) -> None:
        """Expect a prompt of so many tokens."""
        self.followers.tell("reserve", cache=self.number, tokens=tokens)

    def trim(self, n: int) -> int:
        """Forget the last n tokens; returns how many there were to forget."""
        n = min(self.offset, n)
        if n:
            self.offset -= n
            self.followers.tell("trim", cache=self.number, tokens=self.offset)
        return n

    def reach(self, position: int) -> int:
        """The last position, at most `position`, that all of them can go back to."""
        if not self.followers.forgets or position in (0, self.offset):
            return position
        return self.followers.least("reach", cache=self.number, position=position)

    def is_trimmable(self) -> bool:
        """Models whose caches are not are not split."""
        return True

    def empty(self) -> bool:
        """Whether nothing was ever appended."""
        return not self._used

    @property
    def stored(self) -> dict[str, Any]:
        """Nothing of it is in blocks here; followers have blocks of their own."""
        return {}

    @property
    def state(self) -> list[Any]:
        """Nothing of it is to be evaluated here."""
        return []

    @property
    def nbytes(self) -> int:
        """None of its bytes are here."""
        return 0

    def make_mask(
        self, N: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """What N new tokens may attend to."""
        return create_attention_mask(N, self.offset, return_array, window_size)

    def __deepcopy__(self, memo: Any) -> "RemoteCache":
        return self._derived("copy", self.offset, source=self.number)

    def joined(self, rows: Sequence["RemoteCache"], longest: int) -> "RemoteCache":
        """A batch of these and of this one, their first; `longest` counts the padded tokens."""
        numbers = [row.number for row in rows]
        return self._derived("join", longest, parts=numbers)

    def emptied(self, rows: int) -> "RemoteCache":
        """A batch of so many rows without tokens, of this empty one."""
        return self._derived("empty", 0, source=self.number, rows=rows)

    def filter(self, rows: Sequence[int], cut: int) -> None:
        """Of a batch, keep some rows; the padding that all of them have, `cut`, goes."""
        self.followers.tell("filter", cache=self.number, rows=list(rows))
        self.offset -= cut

    def extracted(self, row: int, tokens: int) -> "RemoteCache":
        """One row of a batch."""
        return self._derived("extract", tokens, source=self.number, row=row)

    def restore(self, names: Sequence[str]) -> int:
        """How many stored blocks of a chain all followers have; what they find they hold ready."""
        return self.followers.least("restore", cache=self.number, names=list(names))

    def fill(self, blocks: int) -> None:
        """Fill an empty one with so many of the blocks that were found last."""
        self.followers.tell("fill", cache=self.number, blocks=blocks)
        self._used = blocks > 0

    def store(self, names: Sequence[str]) -> None:
        """Let later prompts find blocks that are called so."""
        self.followers.tell("store", cache=self.number, names=list(names))

    def repeat(self, times: int) -> None:
        """Have each of its rows so many times, one after the other."""
        self.followers.tell("repeat", cache=self.number, times=times)

    def _derived(self, deed: str, offset: int, **facts: Any) -> "RemoteCache":
        made = RemoteCache(self.followers, deed, **facts)
        made.offset, made._used = offset, offset > 0 or self._used
        return made


def repeat_rows(caches: Sequence[Any], times: int) -> None:
    """Have each row [B, ...] of a model's caches so many times, one after the other."""
    for cache in caches:
        if isinstance(cache, RemoteCache):
            cache.repeat(times)
        else:
            keys, values, offset = cache.state
            cache.state = mx.repeat(keys, times, axis=0), mx.repeat(values, times, axis=0), offset
