"""Pictures in prompts: where they stand among the tokens, and what the encoders make of them."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import mlx.core as mx
from PIL.Image import Image

from mlx_deepseek.errors import PromptError
from mlx_deepseek.models.vision_lm import ImageModel
from mlx_deepseek.vision.picture_slots import DIGEST_BYTES, Slot, read_slot
from mlx_deepseek.vision.tiling.plan import ImagePlan, ImageReader

# Features kept for questions about the same pictures.
FEATURES_BYTES = 256 << 20


@dataclass(frozen=True)
class PlacedImage:
    """A picture as one prompt shows it."""

    picture: Image
    plan: ImagePlan
    number: int

    def slots(self) -> list[int]:
        """The picture's places in a prompt, as numbers below zero."""
        kinds = self.plan.kinds or [0] * self.plan.slots
        return [Slot(self.number, place, kind).number for place, kind in enumerate(kinds)]


# The pictures of a prompt by number.
PlacedImages = Mapping[int, PlacedImage]


class PromptImages:
    """Puts pictures into prompts; each is encoded once, when a prompt is first read."""

    def __init__(
        self, model: ImageModel, room_bytes: int = FEATURES_BYTES, reader: ImageReader | None = None
    ):
        self.model = model
        self.reader = reader or model.reader
        self.room_bytes = room_bytes
        self._features: OrderedDict[int, mx.array] = OrderedDict()

    def place(
        self, ids: Sequence[int], token: int | None, pictures: Sequence[Image]
    ) -> tuple[list[int], PlacedImages]:
        """`ids` with slots in place of each `token`, or of each run of them as long as its picture.

        `token` None: the one number that occurs as often as the pictures have slots.

        Raises:
            PromptError: there are more or fewer places than pictures, or one ends the prompt of a
                model that must have read all of it.
        """
        plans = self.reader.plan([picture.size for picture in pictures])
        count = sum(plan.slots for plan in plans)
        token = only_token(ids, count) if token is None else token
        places = list(ids).count(token)
        filled = places == count and all(plan.at(0) == plan for plan in plans)
        if not filled and places != len(plans):
            raise PromptError(
                f"The prompt has {places} picture tokens for {len(plans)} pictures. Expected "
                f"one for each, or one for each of their {count} features."
            )
        out, placed, slots = list[int](), dict[int, PlacedImage](), list[int]()
        left = zip(pictures, plans, strict=True)
        for number in ids:
            if number != token:
                out.append(number)
                continue
            if not slots:
                picture, plan = next(left)
                one = placed_image(picture, plan.at(len(out)))
                placed[one.number] = one
                slots = one.slots()
            taken = 1 if filled else len(slots)
            out += slots[:taken]
            slots = slots[taken:]
        if out[-1] < 0 and read_slot(out[-1]).kind:
            raise PromptError(
                "The prompt ends with a picture, which this model reads in one piece before it "
                "writes. Expected a word, or the answer's role, after the picture."
            )
        return out, placed

    def embed(self, ids: Sequence[int], images: PlacedImages) -> mx.array:
        """Embeddings [1, L, D] of a part of a prompt; call it on the thread that computes."""
        words = self.model.embed(mx.array([[max(number, 0) for number in ids]]))  # [1, L, D]
        parts, start = [], 0
        while start < len(ids):
            end = run_end(ids, start)
            if ids[start] < 0:
                picture, place, _ = read_slot(ids[start])
                features = self.features(images[picture])[place : place + end - start]
                parts.append(features[None].astype(words.dtype))
            else:
                parts.append(words[:, start:end])
            start = end
        return mx.concatenate(parts, axis=1)

    def features(self, image: PlacedImage) -> mx.array:
        """A picture's features [slots, D], from memory if it was seen lately."""
        found = self._features.pop(image.number, None)
        if found is None:
            pixels = self.reader.pixels(image.picture, image.plan)
            found = self.model.see(pixels, image.plan)
            mx.eval(found)
        self._features[image.number] = found
        while len(self._features) > 1 and self._kept_bytes() > self.room_bytes:
            self._features.popitem(last=False)
        return found

    def _kept_bytes(self) -> int:
        return sum(features.nbytes for features in self._features.values())


def placed_image(picture: Image, plan: ImagePlan) -> PlacedImage:
    """A picture with its number: a digest of its pixels and its plan."""
    digest = blake2b(f"{picture.size} {plan}".encode(), digest_size=DIGEST_BYTES)
    digest.update(picture.tobytes())
    return PlacedImage(picture, plan, int.from_bytes(digest.digest()))


def run_end(ids: Sequence[int], start: int) -> int:
    """Where a run of words, or of one picture's slots, ends that begins at `start`."""
    end = start + 1
    if ids[start] < 0:
        first = read_slot(ids[start])
        while end < len(ids) and ids[end] < 0:
            slot = read_slot(ids[end])
            if slot[:2] != (first.picture, first.place + end - start):
                break
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
