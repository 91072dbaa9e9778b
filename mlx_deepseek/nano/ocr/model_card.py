"""nano-ocr's model card."""

CARD = """\
---
license: mit
library_name: mlx
pipeline_tag: image-text-to-text
---

# nano-ocr

DeepSeek-OCR (arXiv:2510.18234) in miniature, with {millions:.1f} million parameters: SAM blocks
with windowed and global attention, the 16x convolutional compressor, CLIP blocks, a projector, and
a decoder with multi-head attention and routed experts. It is part of mlx-deepseek, for tests and
first steps, and was trained by `mlx-deepseek nano-ocr train` on pictures that the same program
draws.

## What it reads

One view of 192 x 192 pixels, nine vision tokens, in which a picture keeps its shape: a word of up
to 12 letters, a line of up to 12 characters, two or three lines of up to 8, a ruled table of two or
three rows and columns. Printable ASCII in the upright fonts of Debian's fonts-dejavu,
fonts-liberation, fonts-freefont-ttf, fonts-lato, fonts-crosextra-carlito and
fonts-roboto-unhinted. In words that it never saw about one letter in five is wrong;
docs/measurements.md has the table.

## What it cannot do

Pages of books, handwriting, other scripts, long lines, figures, formulas, small print, photographs:
nearly everything that a document reader is for. It hallucinates where it cannot read. For documents
load deepseek-ai/DeepSeek-OCR.
"""


def model_card(parameters: int) -> str:
    """The card of a model of so many parameters."""
    return CARD.format(millions=parameters / 1e6)
