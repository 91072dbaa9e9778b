"""Pillow pictures to the numbers that encoders take, bit by bit as the original code does."""

import mlx.core as mx
import numpy as np
from PIL import Image, ImageOps

GREY = (127, 127, 127)  # int(0.5 * 255)


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture in the middle of `size`, the rest grey."""
    return ImageOps.pad(picture, size, color=GREY)


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
