"""Titles of conversations: one line of no more than TITLE_CHARACTERS."""

import re
from collections.abc import Container
from itertools import count

from mlx_deepseek_app.conversation.conversation import Conversation

TITLE_CHARACTERS = 60


def shortened(text: str) -> str:
    """One line of text that fits a title."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"


def numbered(title: str, taken: Container[str]) -> str:
    """The title with the first number, from 2 on, that no other has."""
    plain = re.sub(r" \(\d+\)$", "", title)[: TITLE_CHARACTERS - 6]
    return next(name for at in count(2) if (name := f"{plain} ({at})") not in taken)


def first_words(conversation: Conversation) -> str:
    """What names a conversation until somebody does."""
    return shortened(conversation.nodes[0].text) or "Untitled"
