"""Blocks to Markdown: figures linked, HTML tables and LaTeX formulas as the model wrote them."""

import re
from collections.abc import Mapping, Sequence

from mlx_deepseek.documents.blocks import Block
from mlx_deepseek.documents.read import ReadPage

# What the authors replace, as KaTeX and others do not know it.
UNKNOWN_LATEX = {r"\coloneqq": ":=", r"\eqqcolon": "=:"}
BLANK_LINES = re.compile(r"\n{3,}")

# Links of a block's figures by the block's place.
Links = Mapping[int, Sequence[str]]


def page_markdown(page: ReadPage, links: Links) -> str:
    """A page; one that could not be read, or was cut off, says so."""
    if page.error:
        return unread(page.number, page.error)
    parts = [part for i, block in enumerate(page.blocks) if (part := _block(block, links.get(i)))]
    if page.finish == "length":
        parts.append(note(f"Page {page.number} is cut off: the answer reached its longest length."))
    return BLANK_LINES.sub("\n\n", "\n\n".join(parts)).rstrip() + "\n"


def unread(number: int, error: str) -> str:
    """What stands for a page, or (0) a document, that could not be read."""
    return note(f"{f'Page {number}' if number else 'The document'} could not be read: {error}")


def note(text: str) -> str:
    """A remark of this program in a document."""
    return f"> **{' '.join(text.split())}**\n"


def _block(block: Block, links: Sequence[str] | None) -> str:
    text = block.words
    for unknown, known in UNKNOWN_LATEX.items():
        text = text.replace(unknown, known)
    figures = [f"![{block.label}]({link})" for link in links or ()]
    return "\n\n".join([*figures, text] if text else figures)
