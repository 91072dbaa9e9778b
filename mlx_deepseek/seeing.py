"""Pictures in prompts: where they stand among the tokens, and what the encoders make of them.

A slot of a picture is a negative number in the prompt, made of the picture's digest and the slot's
place. So two prompts share a prefix exactly when they share its words and its pictures, and caches
need to know nothing of pictures.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import mlx.core as mx
from PIL.Image import Image

from mlx_deepseek.errors import PromptError
from mlx_deepseek.models.vision_lm import VisionLM
from mlx_deepseek.vision.plan import ImageReader, TilePlan

# A slot's number: the picture's digest, then the slot's place in it.
DIGEST_BYTES, PLACE_BITS = 5, 20
# Features kept for questions about the same pictures.
FEATURES_BYTES = 256 << 20


@dataclass(frozen=True)
class Sight:
    """A picture as one prompt shows it."""

    picture: Image
    plan: TilePlan
    number: int

    def slots(self) -> list[int]:
        """The picture's places in a prompt, as negative numbers."""
        first = -1 - (self.number << PLACE_BITS)
        return list(range(first, first - self.plan.slots, -1))


# The pictures of a prompt by number.
Sights = Mapping[int, Sight]


class Eyes:
    """Puts pictures into prompts; each is encoded once, when a prompt is first read."""

    def __init__(
        self,
        model: VisionLM,
        room_bytes: int = FEATURES_BYTES,
        reader: ImageReader | None = None,
    ):
        self.model = model
        self.reader = reader or model.reader
        self.room_bytes = room_bytes
        self._features: OrderedDict[int, mx.array] = OrderedDict()

    def place(
        self, ids: Sequence[int], token: int | None, pictures: Sequence[Image]
    ) -> tuple[list[int], Sights]:
        """`ids` with slots in place of each `token`, or of each run of them as long as its picture.

        `token` None: the one number that occurs as often as the pictures have slots.

        Raises:
            PromptError: there are more or fewer places than pictures.
        """
        plans = self.reader.plan([picture.size for picture in pictures])
        sights = [sight(*pair) for pair in zip(pictures, plans, strict=True)]
        slots = [slot for one in sights for slot in one.slots()]
        token = only_token(ids, len(slots)) if token is None else token
        places = [place for place, number in enumerate(ids) if number == token]
        out = list(ids)
        if len(places) == len(slots):
            for place, slot in zip(places, slots, strict=True):
                out[place] = slot
        elif len(places) == len(sights):
            for place, one in reversed(list(zip(places, sights, strict=True))):
                out[place : place + 1] = one.slots()
        else:
            raise PromptError(
                f"The prompt has {len(places)} picture tokens for {len(sights)} pictures. Expected "
                f"one for each, or one for each of their {len(slots)} features."
            )
        return out, {one.number: one for one in sights}

    def embed(self, ids: Sequence[int], sights: Sights) -> mx.array:
        """Embeddings [1, L, D] of a part of a prompt; call it on the thread that computes."""
        words = self.model.embed(mx.array([[max(number, 0) for number in ids]]))  # [1, L, D]
        parts, start = [], 0
        while start < len(ids):
            end = run_end(ids, start)
            if ids[start] < 0:
                number, place = divmod(-1 - ids[start], 1 << PLACE_BITS)
                features = self.features(sights[number])[place : place + end - start]
                parts.append(features[None].astype(words.dtype))
            else:
                parts.append(words[:, start:end])
            start = end
        return mx.concatenate(parts, axis=1)

    def features(self, sight: Sight) -> mx.array:
        """A picture's features [slots, D], from memory if it was seen lately."""
        found = self._features.pop(sight.number, None)
        if found is None:
            pixels = self.reader.pixels(sight.picture, sight.plan)
            found = self.model.see(pixels, sight.plan)
            mx.eval(found)
        self._features[sight.number] = found
        while len(self._features) > 1 and self._held() > self.room_bytes:
            self._features.popitem(last=False)
        return found

    def _held(self) -> int:
        return sum(features.nbytes for features in self._features.values())


def sight(picture: Image, plan: TilePlan) -> Sight:
    """A picture with its number: a digest of its pixels and its plan."""
    digest = blake2b(f"{picture.size} {plan}".encode(), digest_size=DIGEST_BYTES)
    digest.update(picture.tobytes())
    return Sight(picture, plan, int.from_bytes(digest.digest()))


def run_end(ids: Sequence[int], start: int) -> int:
    """Where a run of words, or of one picture's slots, ends that begins at `start`."""
    end = start + 1
    if ids[start] < 0:
        while end < len(ids) and ids[end] == ids[end - 1] - 1:
            end += 1
    else:
        while end < len(ids) and ids[end] >= 0:
            end += 1
    return end


def only_token(ids: Sequence[int], count: int) -> int:
    """The number that occurs exactly `count` times.

    Raises:
        PromptError: none does, or several do.
    """
    found = [number for number in set(ids) if list(ids).count(number) == count]
    if len(found) != 1:
        raise PromptError(
            "This checkpoint does not say which token stands for a picture. Expected one number "
            f"that occurs {count} times, as often as the pictures have features."
        )
    return found[0]


def words(ids: Sequence[int]) -> list[int]:
    """The tokens that are no picture's slots."""
    return [number for number in ids if number >= 0]
