"""Pillow pictures to the numbers that encoders take, bit by bit as the original code does."""

import mlx.core as mx
import numpy as np
from PIL import Image

GREY = (127, 127, 127)  # int(0.5 * 255)


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in another size, bicubic, rows first.

    In one call Pillow 13 begins with the axis that costs less, and rounds in between: of tall
    pictures every sixth byte would be another one than the original code's.
    """
    width, height = size
    rows = picture.resize((width, picture.height), Image.Resampling.BICUBIC)
    return rows.resize((width, height), Image.Resampling.BICUBIC)


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture in the middle of `size`, the rest grey; as Pillow's ImageOps.pad."""
    width, height = size
    if picture.width * height > picture.height * width:
        height = max(round(picture.height / picture.width * width), 1)
    else:
        width = max(round(picture.width / picture.height * height), 1)
    whole = Image.new("RGB", size, GREY)
    place = round((size[0] - width) * 0.5), round((size[1] - height) * 0.5)
    whole.paste(resized(picture, (width, height)), place)
    return whole


def cut(picture: Image.Image, side: int) -> list[Image.Image]:
    """Squares of `side` pixels, row by row."""
    return [
        picture.crop((left, top, left + side, top + side))
        for top in range(0, picture.height, side)
        for left in range(0, picture.width, side)
    ]


def centred(pictures: list[Image.Image]) -> mx.array:
    """Pixels in [-1, 1], float32 [T, px, px, 3]."""
    half = np.float32(0.5)
    return mx.array((scaled(pictures) - half) / half)


def scaled(pictures: list[Image.Image]) -> np.ndarray:
    """Pixels in [0, 1], float32 [T, px, px, 3]."""
    values = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return values.astype(np.float32) / np.float32(255)
