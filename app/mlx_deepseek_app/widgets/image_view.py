"""A picture as the page shows it: small enough to send, with what was found drawn over it."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from PIL.Image import Image

from mlx_deepseek.documents.annotate import colour
from mlx_deepseek.documents.blocks import Block

SHOWN_PX = 1400  # the longer side of what travels to the page
THUMB_PX = 160
QUALITY = 85
LABEL_CHARACTERS = 32
# Of the picture's width: outlines and labels are as thick and high on large pictures as on small.
STROKE, LETTER = 1 / 400, 1 / 45


@dataclass(frozen=True)
class Preview:
    """A picture's `size` in pixels and a JPEG of it for the page."""

    size: tuple[int, int]
    url: str


def preview(picture: Image) -> Preview:
    """Shrunk to SHOWN_PX and encoded."""
    small = picture.copy()
    small.thumbnail((SHOWN_PX, SHOWN_PX))
    file = io.BytesIO()
    small.convert("RGB").save(file, "JPEG", quality=QUALITY)
    code = base64.b64encode(file.getvalue()).decode()
    return Preview(picture.size, f"data:image/jpeg;base64,{code}")


def thumb(picture: Image) -> str:
    """A small JPEG of a page for a strip of many, as a data URL."""
    small = picture.copy()
    small.thumbnail((THUMB_PX, THUMB_PX))
    file = io.BytesIO()
    small.convert("RGB").save(file, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def with_boxes(picture: Preview, blocks: Iterable[Block], name: str) -> str:
    """HTML of a picture with boxes and their labels; all text escaped."""
    width, height = picture.size
    boxes = [(block.label, box) for block in blocks for box in block.boxes]
    drawn = "".join(_box(label, box, width) for label, box in boxes)
    said = f"{name}, {len(boxes)} boxes" if boxes else name
    return (
        f'<figure class="preview"><img src="{picture.url}" alt="{escape(name)}">'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">{drawn}</svg>'
        "</figure>"
    )


def _box(label: str, box: tuple[int, int, int, int], width: int) -> str:
    left, top, right, bottom = box
    red, green, blue = colour(label)
    ink = f"rgb({red},{green},{blue})"
    letter = width * LETTER
    text = escape(label[:LABEL_CHARACTERS])
    under = max(top - letter * 0.3, letter)
    return (
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" stroke="{ink}" '
        f'fill="{ink}" fill-opacity=".08" stroke-width="{width * STROKE:.1f}">'
        f"<title>{escape(label)}</title></rect>"
        f'<text x="{left}" y="{under:.0f}" font-size="{letter:.0f}" fill="{ink}">{text}</text>'
    )
