"""The rows of turns in the database, and the index of their words."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict

from mlx_deepseek.completion import Usage
from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.database import transaction
from mlx_deepseek_app.turns import Picture, Turn

COLUMNS = "id, parent, role, text, reasoning, state, error, thinking_s, usage, calls, pictures"
# letters, not words: Chinese has no gaps between words
WORDS = "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, tokenize = 'trigram')"
LETTERS = 3  # of a word that the index can find


def add(db: sqlite3.Connection, key: str, turns: Iterable[Turn]) -> None:
    """Write those turns of conversation `key` that are not there yet."""
    marks = ", ".join("?" * len(COLUMNS.split(",")))
    db.executemany(
        f"INSERT OR IGNORE INTO turns (conversation, {COLUMNS}) VALUES (?, {marks})",
        ((key, *_values(turn)) for turn in turns),
    )


def update(db: sqlite3.Connection, key: str, turn: Turn) -> None:
    """Write a turn as it is now."""
    _, _, _, *now = _values(turn)
    db.execute(
        "UPDATE turns SET text = ?, reasoning = ?, state = ?, error = ?, thinking_s = ?, "
        "usage = ?, calls = ?, pictures = ? WHERE conversation = ? AND id = ?",
        (*now, key, turn.id),
    )


def read(db: sqlite3.Connection, key: str) -> tuple[Turn, ...]:
    """All turns of a conversation, parents first; a reply that nobody finished is cut."""
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


def index(db: sqlite3.Connection, key: str, turns: Iterable[Turn]) -> None:
    """Make turns that are complete findable."""
    where = "(SELECT serial FROM turns WHERE conversation = ? AND id = ?)"
    for turn in turns:
        if not turn.running:
            db.execute(f"DELETE FROM words WHERE rowid = {where}", (key, turn.id))
            db.execute(
                f"INSERT INTO words (rowid, text) VALUES ({where}, ?)", (key, turn.id, turn.text)
            )


def forget(db: sqlite3.Connection, key: str, indexed: bool) -> None:
    """Remove all turns of a conversation, and their words."""
    if indexed:
        db.execute(
            "DELETE FROM words WHERE rowid IN (SELECT serial FROM turns WHERE conversation = ?)",
            (key,),
        )
    db.execute("DELETE FROM turns WHERE conversation = ?", (key,))


def having(word: str, indexed: bool) -> tuple[str, str]:
    """SQL that is true of turns in which `word` is, and the value that it takes."""
    if indexed and len(word) >= LETTERS:
        quoted = word.replace('"', '""')
        return "serial IN (SELECT rowid FROM words WHERE words MATCH ?)", f'"{quoted}"'
    return "text LIKE ? ESCAPE '\\'", like(word)


def like(word: str) -> str:
    """A pattern for LIKE that finds `word` anywhere, escaped with a backslash."""
    for special in "\\%_":
        word = word.replace(special, "\\" + special)
    return f"%{word}%"


def _values(turn: Turn) -> tuple:
    usage = json.dumps(turn.counts) if turn.counts else None
    calls, pictures = (
        json.dumps([asdict(one) for one in several]) for several in (turn.calls, turn.pictures)
    )
    said = (turn.text, turn.reasoning, turn.state, turn.error, turn.thinking_s, usage)
    return turn.id, turn.parent, turn.role, *said, calls, pictures


def _turn(row: tuple) -> Turn:
    key, parent, role, text, reasoning, state, error, thinking_s, usage, calls, pictures = row
    state = "cut" if state in ("waiting", "writing") else state
    used = Usage(**json.loads(usage)) if usage else None
    called = tuple(ToolCall(**call) for call in json.loads(calls))
    came = tuple(Picture(**picture) for picture in json.loads(pictures))
    return Turn(role, text, reasoning, state, error, thinking_s, used, key, parent, called, came)
