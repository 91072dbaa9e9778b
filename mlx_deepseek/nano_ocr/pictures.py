"""Pictures of text for training and measuring: fonts, colours, noise and a slight turn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.nano_ocr import writing
from mlx_deepseek.nano_ocr.shape import VIEW_PX

# Debian's fonts-dejavu, fonts-liberation, fonts-freefont-ttf and fonts-lato, upright and readable.
FONTS = (
    "DejaVuSansMono.ttf", "LiberationMono-Regular.ttf", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf", "DejaVuSansCondensed.ttf", "LiberationSans-Regular.ttf",
    "LiberationSans-Bold.ttf", "LiberationSerif-Regular.ttf", "FreeSans.ttf", "FreeSerif.ttf",
    "Lato-Regular.ttf", "Lato-Bold.ttf",
)  # fmt: skip
FOLDERS = (Path("/usr/share/fonts"), Path("~/Library/Fonts"), Path("/Library/Fonts"))
KINDS: tuple[str, ...] = ("word", "line", "lines", "table", "locate")
FREE, MARKDOWN = "Free OCR.", "<|grounding|>Convert the document to markdown."
PATCH_PX = 16
EASY_SIZE = 26.58  # in pixels; a character of DejaVu Sans Mono is then as wide as a patch
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
    image = Image.new("RGB", (VIEW_PX, VIEW_PX), style.paper)
    return Sheet(style, image, ImageDraw.Draw(image))


@dataclass(frozen=True)
class Example:
    """A picture with what it is asked and the right answer; `kind` is one of KINDS.

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


def example(rng: Random, kind: str, *, held_out: bool = False, easy: float = 0.0) -> Example:
    """A picture of `kind`; `easy` from 1 to 0 makes texts shorter and pages cleaner."""
    style = new_style(rng, easy)
    draw = {"table": table, "locate": locate}.get(kind)
    if draw is not None:
        return draw(rng, style, held_out)
    if kind == "word":
        lines = [writing.text(rng, 3 + round(6 * (1 - easy)), held_out=held_out)]
    elif kind == "line":
        lines = [writing.text(rng, round(8 + 4 * (1 - easy)), held_out=held_out)]
    else:
        count = rng.randint(2, 2 + round(1 - easy))
        lines = [writing.text(rng, 8, held_out=held_out) for _ in range(count)]
    sheet, box = page(rng, style, lines, easy)
    picture, glyphs = finish(rng, sheet), tuple(sheet.glyphs)
    words = "\n".join(lines)
    if kind != "word" and rng.random() < 0.25:
        answer = f"<|ref|>text<|/ref|><|det|>[[{box}]]<|/det|>\n{words}"
        return Example(kind, picture, MARKDOWN, answer, glyphs)
    return Example(kind, picture, FREE, words, glyphs)


def page(rng: Random, style: Style, lines: Sequence[str], easy: float) -> tuple[Sheet, str]:
    """Lines one under the other on a square page, in its middle to anywhere; and their box."""
    size = largest(rng, style, lines, easy)
    face = load(style.font, size)
    step = round(size * rng.uniform(1.15, 1.5))
    width = max(face.getlength(line) for line in lines)
    height = step * (len(lines) - 1) + size * 1.25
    left, top = somewhere(rng, width, easy), somewhere(rng, height, easy)
    sheet = new_sheet(style)
    boxes = []
    for number, line in enumerate(lines):
        place = (left, top + step * number)
        sheet.write(place, line, face)
        boxes.append(sheet.pen.textbbox(place, line, font=face))
    return sheet, box_text(union(boxes))


def somewhere(rng: Random, length: float, easy: float) -> float:
    """Where something begins on the page; the easiest are at the edges of patches."""
    place = rng.uniform(2, max(2.0, VIEW_PX - length - 2))
    edge = round(place / PATCH_PX) * PATCH_PX
    return edge + min(1.0, 3 * (1 - easy)) * (place - edge)


def table(rng: Random, style: Style, held_out: bool) -> Example:
    """A ruled table of two or three rows and columns, as Markdown."""
    columns, count = rng.randint(2, 3), rng.randint(2, 3)
    rows = [[writing.cell(rng) for _ in range(columns)] for _ in range(count)]
    while writing.is_held_out(str(rows)) != held_out:
        rows[0][0] = writing.cell(rng)
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
    answer = f"<|ref|>table<|/ref|><|det|>[[{box}]]<|/det|>\n{words}"
    return Example("table", finish(rng, sheet), MARKDOWN, answer, tuple(sheet.glyphs))


def locate(rng: Random, style: Style, held_out: bool) -> Example:
    """Two to four different words, one to each band of the page; one of them is asked for."""
    count = rng.randint(2, 4)
    words: list[str] = []
    while len(words) < count:
        word = writing.text(rng, 7, held_out=held_out).strip(" .,:;!?")
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
    phrase = f"<|ref|>{words[asked]}<|/ref|>"
    answer = f"{phrase}<|det|>[[{box_text(boxes[asked])}]]<|/det|>"
    question = f"Locate {phrase} in the image."
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
    widest = max(load(style.font, 100).getlength(line) for line in lines)
    room = min((VIEW_PX - 6) / widest * 100, (VIEW_PX - 6) / (len(lines) * 1.5))
    most = max(10, min(int(room), 36))
    least = max(10, min(14, most), int(0.75 * most))
    return easy * min(most, EASY_SIZE) + (1 - easy) * rng.randint(least, most)


def finish(rng: Random, sheet: Sheet) -> Image.Image:
    """Turned, blurred, noisy."""
    style, image = sheet.style, sheet.image
    if style.turn:
        image = image.rotate(style.turn, Image.Resampling.BICUBIC, fillcolor=style.paper)
    if style.blur:
        image = image.filter(ImageFilter.GaussianBlur(style.blur))
    if style.noise:
        grain = np.random.default_rng(rng.getrandbits(32)).normal(0, style.noise, (VIEW_PX,) * 2)
        values = np.asarray(image, np.float32) + grain[..., None]
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return image


def union(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    """The smallest box around all."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def box_text(box: tuple[float, float, float, float]) -> str:
    """A box in thousandths of the page, as answers have it."""
    scaled = (min(max(round(value / VIEW_PX * GRID), 0), GRID) for value in box)
    return ", ".join(map(str, scaled))


@lru_cache(maxsize=512)
def load(name: str, size: float) -> ImageFont.FreeTypeFont:
    """A font by its file's name."""
    return ImageFont.truetype(str(installed()[name]), size)


@lru_cache(maxsize=1)
def fonts() -> tuple[str, ...]:
    """The training fonts that this machine has.

    Raises:
        DeepSeekError: none of them.
    """
    found = tuple(name for name in FONTS if name in installed())
    if not found:
        raise DeepSeekError(
            f"None of the fonts {', '.join(FONTS)} is installed. Install fonts-dejavu and "
            "fonts-liberation (Debian), or the DejaVu fonts."
        )
    return found


@lru_cache(maxsize=1)
def installed() -> dict[str, Path]:
    """Font files by name."""
    paths = (path for folder in FOLDERS for path in folder.expanduser().rglob("*.ttf"))
    return {path.name: path for path in sorted(paths)}
