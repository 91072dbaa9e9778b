"""The slots of pictures in a prompt: numbers below zero, where tokens are zero and above.

A slot's number says which picture it belongs to, by a digest, its place there, and what it holds.
So two prompts share a prefix exactly when they share its words and its pictures, and caches need to
know nothing of pictures.
"""

from collections.abc import Sequence
from typing import NamedTuple

DIGEST_BYTES, PLACE_BITS, KIND_BITS = 5, 20, 3  # 63 bits in all


class Slot(NamedTuple):
    """`kind` says what a slot holds, from 1 on; 0: the model does not tell slots apart."""

    picture: int
    place: int
    kind: int = 0

    @property
    def number(self) -> int:
        """The slot in a prompt."""
        return -1 - ((self.picture << PLACE_BITS | self.place) << KIND_BITS | self.kind)


def read_slot(number: int) -> Slot:
    """The slot of a number below zero."""
    rest, kind = divmod(-1 - number, 1 << KIND_BITS)
    return Slot(*divmod(rest, 1 << PLACE_BITS), kind)


def model_token(number: int) -> int:
    """What a model is told of a token or slot: the token, or minus the slot's kind."""
    return number if number >= 0 else -read_slot(number).kind


def whole_before(ids: Sequence[int], position: int) -> int:
    """The last place, at most `position`, where a prompt may be cut.

    Pictures whose slots have kinds are read in one piece: their tokens may see each other.
    """
    while 0 < position < len(ids) and _joined(ids[position - 1], ids[position]):
        position -= 1
    return position


def whole_after(ids: Sequence[int], position: int) -> int:
    """The first place, at least `position`, where a prompt may be cut."""
    while 0 < position < len(ids) and _joined(ids[position - 1], ids[position]):
        position += 1
    return position


def _joined(before: int, after: int) -> bool:
    if before >= 0 or after >= 0:
        return False
    first, second = read_slot(before), read_slot(after)
    return second.kind > 0 and first.picture == second.picture and first.place < second.place
