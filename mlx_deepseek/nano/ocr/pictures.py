"""Pictures of text for training and measuring: fonts, colours, noise and a slight turn."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.nano.ocr import texts
from mlx_deepseek.nano.ocr.config import VIEW_PX

# Debian's fonts-dejavu, fonts-liberation, fonts-freefont-ttf, fonts-lato, fonts-crosextra-carlito
# and fonts-roboto-unhinted, upright and readable.
FONTS = (
    "DejaVuSansMono.ttf", "LiberationMono-Regular.ttf", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf", "DejaVuSansCondensed.ttf", "LiberationSans-Regular.ttf",
    "LiberationSans-Bold.ttf", "LiberationSerif-Regular.ttf", "FreeSans.ttf", "FreeSerif.ttf",
    "Lato-Regular.ttf", "Lato-Bold.ttf", "Carlito-Regular.ttf", "Roboto-Regular.ttf",
)  # fmt: skip
# Measured by alone: of fonts-open-sans, fonts-liberation, fonts-dejavu and fonts-freefont-ttf.
OTHER_FONTS = (
    "OpenSans-Regular.ttf", "LiberationSansNarrow-Regular.ttf", "DejaVuSerif-Bold.ttf",
    "FreeMonoBold.ttf", "LiberationSerif-Bold.ttf",
)  # fmt: skip
FOLDERS = (Path("/usr/share/fonts"), Path("~/Library/Fonts"), Path("/Library/Fonts"))
KINDS: tuple[str, ...] = ("word", "line", "lines", "table", "locate")
# Words as well, measured apart: in small print, on wide and tall pages, in fonts never trained on.
APART: tuple[str, ...] = ("small", "shape", "font")
FREE, MARKDOWN = "Free OCR.", "<|grounding|>Convert the document to markdown."
OCR = "<|grounding|>OCR this image."
PATCH_PX = 16
EASY_SIZE = 26.58  # in pixels; a character of DejaVu Sans Mono is then as wide as a patch
SMALLEST, LARGEST = 13, 38  # pixels of a font, once the page has the size of the view
GRID = 999  # boxes are given in thousandths of the picture


Colour = tuple[int, int, int]
Glyph = tuple[str, float, float, float, float]


@dataclass
class Sheet:
    """A page that is being drawn."""

    style: "Style"
    image: Image.Image
    pen: ImageDraw.ImageDraw
    glyphs: list[Glyph] = field(default_factory=list)

    def write(self, place: tuple[float, float], text: str, face: ImageFont.FreeTypeFont) -> None:
        """Draw a text and note where its characters are."""
        left, top = place
        self.pen.text(place, text, self.style.ink, font=face)
        for number, character in enumerate(text):
            begin, end = face.getlength(text[:number]), face.getlength(text[: number + 1])
            self.glyphs.append((character, left + begin, top, left + end, top + face.size * 1.2))


def new_sheet(style: "Style") -> Sheet:
    """An empty page."""
    image = Image.new("RGB", style.page, style.paper)
    return Sheet(style, image, ImageDraw.Draw(image))


@dataclass(frozen=True)
class Example:
    """A picture with what it is asked and the right answer; `kind` is one of KINDS or APART.

    `glyphs` are the characters drawn and their boxes in pixels, before the page was turned.
    """

    kind: str
    picture: Image.Image
    question: str
    answer: str
    glyphs: tuple[Glyph, ...] = ()


@dataclass(frozen=True)
class Style:
    """How one picture is drawn."""

    font: str
    ink: Colour
    paper: Colour
    noise: float
    blur: float
    turn: float  # degrees
    page: tuple[int, int] = (VIEW_PX, VIEW_PX)  # in pixels
    sizes: tuple[int, int] = (SMALLEST, LARGEST)

    @property
    def scale(self) -> float:
        """Pixels of the page for one of the view."""
        return max(self.page) / VIEW_PX


def example(rng: Random, kind: str, *, held_out: bool = False, easy: float = 0.0) -> Example:
    """A picture of `kind`; `easy` from 1 to 0 makes texts shorter and pages cleaner."""
    style = new_style(rng, easy)
    draw = {"table": table, "locate": locate}.get(kind)
    if draw is not None:
        return draw(rng, style, held_out)
    if kind == "small":
        style = replace(style, sizes=(14, 19))
    elif kind == "font":
        style = replace(style, font=rng.choice(fonts(OTHER_FONTS)))
    if kind == "shape" or (kind not in APART and rng.random() < 0.5 * (1 - easy)):
        style = replace(style, page=page_size(rng))
    if kind in ("word", *APART):
        lines = [texts.word(rng, 3 + round(9 * (1 - easy)), held_out=held_out)]
    elif kind == "line":
        lines = [texts.text(rng, round(8 + 4 * (1 - easy)), held_out=held_out)]
    else:
        count = rng.randint(2, 2 + round(1 - easy))
        lines = [texts.text(rng, 8, held_out=held_out) for _ in range(count)]
    sheet, boxes = page(rng, style, lines, easy)
    picture, glyphs = finish(rng, sheet), tuple(sheet.glyphs)
    words = "\n".join(lines)
    asked = rng.random() if kind in KINDS[1:] else 1.0
    if asked < 0.2:
        answer = located("text", box_text(union(boxes), style.page)) + "\n" + words
        return Example(kind, picture, MARKDOWN, answer, glyphs)
    if asked < 0.4:
        marked = zip(lines, boxes, strict=True)
        answer = "\n".join(located(line, box_text(box, style.page)) for line, box in marked)
        return Example(kind, picture, OCR, answer, glyphs)
    return Example(kind, picture, FREE, words, glyphs)


def page_size(rng: Random) -> tuple[int, int]:
    """From five times as wide as tall to twice as tall, up to two and a half views long."""
    long, ratio = rng.randint(VIEW_PX, 5 * VIEW_PX // 2), rng.uniform(0.2, 1)
    if rng.random() < 0.25:
        return round(long * max(ratio, 0.5)), long
    return long, round(long * ratio)


def page(
    rng: Random, style: Style, lines: Sequence[str], easy: float
) -> tuple[Sheet, list[tuple[float, float, float, float]]]:
    """Lines one under the other on a page, in its middle to anywhere; and their boxes."""
    size = largest(rng, style, lines, easy)
    face = load(style.font, size)
    step = round(size * rng.uniform(1.15, 1.5))
    width = max(face.getlength(line) for line in lines)
    height = step * (len(lines) - 1) + size * 1.25
    left = somewhere(rng, width, easy, style.page[0])
    top = somewhere(rng, height, easy, style.page[1])
    sheet = new_sheet(style)
    boxes = []
    for number, line in enumerate(lines):
        place = (left, top + step * number)
        sheet.write(place, line, face)
        boxes.append(sheet.pen.textbbox(place, line, font=face))
    return sheet, boxes


def located(text: str, box: str) -> str:
    """A phrase or a label with its box, as answers have it."""
    return f"<|ref|>{text}<|/ref|><|det|>[[{box}]]<|/det|>"


def somewhere(rng: Random, length: float, easy: float, room: int) -> float:
    """Where something begins on the page; the easiest are at the edges of patches."""
    place = rng.uniform(2, max(2.0, room - length - 2))
    if rng.random() < 0.3:
        place = max(2.0, (room - length) / 2)
    edge = round(place / PATCH_PX) * PATCH_PX
    return edge + min(1.0, 3 * (1 - easy)) * (place - edge)


def table(rng: Random, style: Style, held_out: bool) -> Example:
    """A ruled table of two or three rows and columns, as Markdown."""
    columns, count = rng.randint(2, 3), rng.randint(2, 3)
    rows = [[texts.cell(rng) for _ in range(columns)] for _ in range(count)]
    while texts.is_held_out(str(rows)) != held_out:
        rows[0][0] = texts.cell(rng)
    face = load(style.font, rng.randint(16, 22))
    wide = max(face.getlength(cell) for row in rows for cell in row) + 12
    wide = min(wide, (VIEW_PX - 8) / columns)
    high = face.size * 1.25 + rng.randint(4, 10)
    left = rng.uniform(3, VIEW_PX - wide * columns - 3)
    top = rng.uniform(3, max(3, VIEW_PX - high * count - 3))
    sheet = new_sheet(style)
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            x, y = left + c * wide, top + r * high
            sheet.pen.rectangle((x, y, x + wide, y + high), outline=style.ink)
            sheet.write((x + 5, y + 3), cell, face)
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    rule = "|" + " --- |" * columns
    box = box_text((left, top, left + wide * columns, top + high * count))
    words = "\n".join((head, rule, *body))
    answer = located("table", box) + "\n" + words
    return Example("table", finish(rng, sheet), MARKDOWN, answer, tuple(sheet.glyphs))


def locate(rng: Random, style: Style, held_out: bool) -> Example:
    """Two to four different words, one to each band of the page; one of them is asked for."""
    count = rng.randint(2, 4)
    words: list[str] = []
    while len(words) < count:
        word = texts.text(rng, 7, held_out=held_out).strip(" .,:;!?")
        if word and word not in words and not any(word in other for other in words):
            words.append(word)
    face = load(style.font, rng.randint(18, 26))
    band = VIEW_PX / count
    sheet = new_sheet(style)
    boxes = []
    for number, word in enumerate(words):
        left = rng.uniform(2, max(2, VIEW_PX - face.getlength(word) - 2))
        top = band * number + rng.uniform(0, max(0, band - face.size * 1.3))
        sheet.write((left, top), word, face)
        boxes.append(sheet.pen.textbbox((left, top), word, font=face))
    asked = rng.randrange(count)
    answer = located(words[asked], box_text(boxes[asked]))
    question = f"Locate <|ref|>{words[asked]}<|/ref|> in the image."
    return Example("locate", finish(rng, sheet), question, answer, tuple(sheet.glyphs))


def new_style(rng: Random, easy: float) -> Style:
    """Dark on light or light on dark; the easiest is one font in black on white."""
    rough = 1 - easy
    ink, paper = colours(rng) if rng.random() < 1.5 * rough else ((0, 0, 0), (255, 255, 255))
    turn = rng.uniform(-3, 3) if rng.random() < 0.4 else 0.0
    blur = rng.uniform(0.2, 0.8) if rng.random() < 0.3 else 0.0
    noise = rng.uniform(0, 18) if rng.random() < 0.5 else 0.0
    known = fonts()
    font = rng.choice(known) if rng.random() < 3 * rough else known[0]
    return Style(font, ink, paper, noise * rough, blur * rough, turn * rough)


def colours(rng: Random) -> tuple[Colour, Colour]:
    """Ink and paper, far enough apart to read."""
    ink = (rng.randrange(90), rng.randrange(90), rng.randrange(90))
    paper = (rng.randrange(200, 256), rng.randrange(200, 256), rng.randrange(200, 256))
    if rng.random() < 0.3:
        ink, paper = (0, 0, 0), (255, 255, 255)
    return (paper, ink) if rng.random() < 0.2 else (ink, paper)


def largest(rng: Random, style: Style, lines: Sequence[str], easy: float) -> float:
    """A font size in pixels at which the lines fit the page; the easiest is always the same."""
    wide, high = (side / style.scale for side in style.page)
    widest = max(load(style.font, 100).getlength(line) for line in lines)
    room = min((wide - 6) / widest * 100, (high - 4) / (len(lines) * 1.3))
    low, most = style.sizes
    most = max(low, min(int(room), most))
    least = max(low, int(0.75 * most)) if rng.random() < 0.5 else low
    size = easy * min(most, EASY_SIZE) + (1 - easy) * rng.randint(least, most)
    return max(8, round(size * style.scale))


def finish(rng: Random, sheet: Sheet) -> Image.Image:
    """Turned, blurred, noisy."""
    style, image = sheet.style, sheet.image
    if style.turn:
        image = image.rotate(style.turn, Image.Resampling.BICUBIC, fillcolor=style.paper)
    if style.blur:
        image = image.filter(ImageFilter.GaussianBlur(style.blur))
    if style.noise:
        grain = np.random.default_rng(rng.getrandbits(32)).normal(0, style.noise, image.size[::-1])
        values = np.asarray(image, np.float32) + grain[..., None]
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return image


def union(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    """The smallest box around all."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def box_text(
    box: tuple[float, float, float, float], size: tuple[int, int] = (VIEW_PX, VIEW_PX)
) -> str:
    """A box in thousandths of the page, as answers have it."""
    parts = (value / side for value, side in zip(box, size * 2, strict=True))
    return ", ".join(str(min(max(round(part * GRID), 0), GRID)) for part in parts)


@lru_cache(maxsize=4096)
def load(name: str, size: float) -> ImageFont.FreeTypeFont:
    """A font by its file's name."""
    return ImageFont.truetype(str(installed()[name]), size)


@lru_cache(maxsize=2)
def fonts(names: tuple[str, ...] = FONTS) -> tuple[str, ...]:
    """The training fonts that this machine has.

    Raises:
        DeepSeekError: none of them.
    """
    found = tuple(name for name in names if name in installed())
    if not found:
        raise DeepSeekError(
            f"None of the fonts {', '.join(names)} is installed. Install fonts-dejavu and "
            "fonts-liberation (Debian), or the DejaVu fonts."
        )
    return found


@lru_cache(maxsize=1)
def installed() -> dict[str, Path]:
    """Font files by name."""
    paths = (path for folder in FOLDERS for path in folder.expanduser().rglob("*.ttf"))
    return {path.name: path for path in sorted(paths)}
