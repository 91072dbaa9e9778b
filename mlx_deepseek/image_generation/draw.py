"""Drawing from beginning to end: turns of a few pictures, previews, and what made each picture."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from mlx_deepseek.errors import ImageError
from mlx_deepseek.image_generation.canvas import Canvas
from mlx_deepseek.image_generation.settings import DrawSettings
from mlx_deepseek.vision.decoders.autoencoder import as_picture

# Pictures in one batch, of two rows each, at most; more are drawn in turns, so memory is bounded.
AT_A_TIME = 4
# Where a PNG says what made it, as JSON.
METADATA_KEY = "mlx-deepseek"
# Makes the canvases of pictures with these seeds.
Method = Callable[[Sequence[int]], Iterator[Canvas]]


@dataclass(frozen=True)
class Origin:
    """What made a picture: drawn again with the same values, it comes out the same."""

    model: str
    recipe: str | None
    prompt: str
    seed: int
    guidance: float | None
    temperature: float | None
    steps: int | None


@dataclass(frozen=True)
class Picture:
    """A drawn picture and its origin; `score` in [0, 1] where the model judged it."""

    image: Image
    origin: Origin
    score: float | None = None

    def save(self, file: Path | str | BinaryIO) -> None:
        """Write a PNG that says what made it; `read_origin` reads that back."""
        info = PngInfo()
        info.add_itxt(METADATA_KEY, json.dumps(asdict(self.origin), ensure_ascii=False))
        info.add_itxt("Description", self.origin.prompt)
        info.add_text("Software", "mlx-deepseek")
        self.image.save(file, format="PNG", pnginfo=info)


@dataclass(frozen=True)
class DrawProgress:
    """`done` of `total` tokens or steps of all pictures; `pictures` are complete.

    `previews` show those of the present turn, where they were asked for.
    """

    done: int
    total: int
    pictures: tuple[Picture, ...] = ()
    previews: tuple[Image, ...] = ()


def draw(
    method: Method,
    prompt: str,
    seeds: Sequence[int],
    settings: DrawSettings,
    *,
    model: str,
    recipe: str | None = None,
    at_a_time: int = AT_A_TIME,
    preview_every: int = 0,
    judge: Callable[[Image], float] | None = None,
    keep: int | None = None,
) -> Iterator[DrawProgress]:
    """The progress after each token or step; the last one has a picture for every seed, in order.

    With a `judge` only the `keep` pictures that it scores highest, best ones first. Nothing that a
    picture is made of depends on the other pictures or on previews.
    """
    pictures: tuple[Picture, ...] = ()
    turns = [seeds[start : start + at_a_time] for start in range(0, len(seeds), at_a_time)]
    for number, turn in enumerate(turns):
        for canvas in method(turn):
            done, total = number * canvas.total + canvas.done, len(turns) * canvas.total
            previews: tuple[Image, ...] = ()
            if canvas.done == canvas.total:
                images = drawn(canvas, len(turn))
                for image, seed in zip(images, turn, strict=True):
                    origin = Origin(model, recipe, prompt, seed, **vars(settings))
                    score = None if judge is None else judge(image)
                    pictures += (Picture(image, origin, score),)
                if judge is not None:
                    pictures = tuple(sorted(pictures, key=lambda one: -(one.score or 0.0))[:keep])
            elif preview_every and canvas.done % preview_every == 0:
                previews = drawn(canvas, len(turn))
            yield DrawProgress(done, total, pictures, previews)


def drawn(canvas: Canvas, count: int) -> tuple[Image, ...]:
    """What there is of each picture."""
    return tuple(as_picture(canvas.pixels(i)) for i in range(count))


def read_origin(image: Image) -> Origin | None:
    """What made a picture, None where it does not say so.

    Raises:
        ImageError: it says so in a way that cannot be read.
    """
    text: Any = image.info.get(METADATA_KEY)
    if text is None:
        return None
    try:
        return Origin(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"The picture's {METADATA_KEY!r} text is damaged ({error}). Expected what made it, as "
            "JSON; open the file that was drawn, not a copy that was changed."
        ) from error
