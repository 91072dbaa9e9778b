"""What is cut out of a page's picture, and what is drawn on it."""

from collections.abc import Sequence
from hashlib import blake2b

from PIL import Image, ImageDraw, ImageFont

from mlx_deepseek.documents.blocks import Block
from mlx_deepseek.prompts.grounding import Box

# Annotated pages are to look at: larger ones are shown smaller.
ANNOTATED_PX = 2000
FILL_OPACITY = 24  # of 255
LABEL_CHARACTERS = 24


def figures(picture: Image.Image, block: Block) -> list[Image.Image]:
    """The parts of the page that a figure's boxes enclose; empty boxes have none."""
    if not block.is_figure:
        return []
    return [picture.crop(box) for box in block.boxes if box[0] < box[2] and box[1] < box[3]]


def annotate(picture: Image.Image, blocks: Sequence[Block]) -> Image.Image:
    """A copy with all boxes and their labels, each label in its own colour."""
    shown = picture.copy()
    shown.thumbnail((ANNOTATED_PX, ANNOTATED_PX))
    scale = shown.width / picture.width, shown.height / picture.height
    draw = ImageDraw.Draw(shown, "RGBA")
    font = ImageFont.load_default()
    for block in blocks:
        for box in block.boxes:
            _draw_box(draw, font, _scaled(box, scale), block.label)
    return shown


def colour(label: str) -> tuple[int, int, int]:
    """A label's colour: dark, and the same every time."""
    red, green, blue = blake2b(label.encode(), digest_size=3).digest()
    return red * 3 // 4, green * 3 // 4, blue * 3 // 4


def _draw_box(draw: ImageDraw.ImageDraw, font, box: Box, label: str) -> None:
    ink = colour(label)
    draw.rectangle(box, fill=(*ink, FILL_OPACITY), outline=ink, width=4 if label == "title" else 2)
    # The default font has no other letters in some builds of Pillow.
    text = label[:LABEL_CHARACTERS].encode("latin-1", "replace").decode("latin-1")
    left, top = box[0], max(0, box[1] - 13)
    draw.rectangle(draw.textbbox((left, top), text, font=font), fill=(255, 255, 255, 200))
    draw.text((left, top), text, font=font, fill=ink)


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    left, top, right, bottom = box
    across, down = scale
    return int(left * across), int(top * down), int(right * across), int(bottom * down)
