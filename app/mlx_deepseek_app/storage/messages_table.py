"""The rows of messages in the database, and the index of their words."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from mlx_deepseek.generation.results import Usage
from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.conversation.messages import AttachedPicture, AttachedText, Message
from mlx_deepseek_app.storage.database import transaction

COLUMNS = (
    "id, parent, role, written_s, text, reasoning, state, error, thinking_s, usage, calls, "
    "pictures, texts"
)
# letters, not words: Chinese has no gaps between words
WORDS = "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, tokenize = 'trigram')"
LETTERS = 3  # of a word that the index can find


def add(db: sqlite3.Connection, key: str, messages: Iterable[Message]) -> None:
    """Write those messages of conversation `key` that are not there yet."""
    marks = ", ".join("?" * len(COLUMNS.split(",")))
    db.executemany(
        f"INSERT OR IGNORE INTO turns (conversation, {COLUMNS}) VALUES (?, {marks})",
        ((key, *_values(message)) for message in messages),
    )


def update(db: sqlite3.Connection, key: str, message: Message) -> None:
    """Write a turn as it is now."""
    _, _, _, _, *now = _values(message)
    db.execute(
        "UPDATE turns SET text = ?, reasoning = ?, state = ?, error = ?, thinking_s = ?, "
        "usage = ?, calls = ?, pictures = ?, texts = ? WHERE conversation = ? AND id = ?",
        (*now, key, message.id),
    )


def read(db: sqlite3.Connection, key: str) -> tuple[Message, ...]:
    """All messages of a conversation, parents first; a reply that nobody finished is cut."""
    rows = db.execute(f"SELECT {COLUMNS} FROM turns WHERE conversation = ? ORDER BY serial", (key,))
    return tuple(_turn(row) for row in rows)


def begin_index(db: sqlite3.Connection) -> bool:
    """Whether there is an index of words; it catches up with what others have written."""
    try:
        with transaction(db):
            db.execute(WORDS)
            db.execute(
                "INSERT INTO words (rowid, text) SELECT serial, text FROM turns "
                "WHERE serial NOT IN (SELECT rowid FROM words)"
            )
    except sqlite3.OperationalError:  # this SQLite has no FTS5, or no trigrams
        return False
    return True


def index(db: sqlite3.Connection, key: str, messages: Iterable[Message]) -> None:
    """Make messages that are complete findable."""
    where = "(SELECT serial FROM turns WHERE conversation = ? AND id = ?)"
    for message in messages:
        if not message.running:
            db.execute(f"DELETE FROM words WHERE rowid = {where}", (key, message.id))
            db.execute(
                f"INSERT INTO words (rowid, text) VALUES ({where}, ?)",
                (key, message.id, message.text),
            )


def forget(db: sqlite3.Connection, key: str, indexed: bool) -> None:
    """Remove all messages of a conversation, and their words."""
    if indexed:
        db.execute(
            "DELETE FROM words WHERE rowid IN (SELECT serial FROM turns WHERE conversation = ?)",
            (key,),
        )
    db.execute("DELETE FROM turns WHERE conversation = ?", (key,))


def having(word: str, indexed: bool) -> tuple[str, str]:
    """SQL that is true of messages in which `word` is, and the value that it takes."""
    if indexed and len(word) >= LETTERS:
        quoted = word.replace('"', '""')
        return "serial IN (SELECT rowid FROM words WHERE words MATCH ?)", f'"{quoted}"'
    return "text LIKE ? ESCAPE '\\'", like(word)


def like(word: str) -> str:
    """A pattern for LIKE that finds `word` anywhere, escaped with a backslash."""
    for special in "\\%_":
        word = word.replace(special, "\\" + special)
    return f"%{word}%"


def _values(message: Message) -> tuple:
    usage = json.dumps(message.counts) if message.counts else None
    several = (
        json.dumps([asdict(one) for one in several])
        for several in (message.calls, message.pictures, message.texts)
    )
    said = (
        message.text,
        message.reasoning,
        message.state,
        message.error,
        message.thinking_s,
        usage,
    )
    return message.id, message.parent, message.role, message.written_s, *said, *several


def _turn(row: tuple) -> Message:
    key, parent, role, written_s, text, reasoning, state, error, thinking_s, usage, *several = row
    state = "cut" if state in ("waiting", "writing") else state
    used = Usage(**json.loads(usage)) if usage else None
    kinds: tuple[Any, ...] = (ToolCall, AttachedPicture, AttachedText)
    lists = (
        tuple(kind(**one) for one in json.loads(text))
        for kind, text in zip(kinds, several, strict=True)
    )
    said = (role, text, reasoning, state, error, thinking_s, used, key, parent, *lists)
    return Message(*said, written_s=written_s)
