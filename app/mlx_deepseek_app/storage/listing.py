"""The list of conversations, and what a search finds of them."""

import re
import sqlite3
from dataclasses import dataclass

from mlx_deepseek_app.storage import messages_table
from mlx_deepseek_app.storage.store import Store

SNIPPET_CHARACTERS, SNIPPET_BEFORE = 90, 24
MARKS = re.compile(r"\*\*|`+|^\s*(#+|[-*>]) ", re.MULTILINE)


@dataclass(frozen=True)
class ConversationSummary:
    """A conversation's line in the list; `updated_s` is seconds since 1970.

    `snippet` is where a message has what was searched for.
    """

    id: str
    title: str
    pinned: bool
    model: str
    updated_s: float
    snippet: str = ""
    folder: str = ""
    archived: bool = False


def entries(store: Store, owner: str, query: str = "") -> list[ConversationSummary]:
    """Pinned ones first, then the newest, those in the archive last.

    With a query they are those that have all its words.
    """
    found, values = "", [owner]
    for word in query.split():
        condition, value = messages_table.having(word, store.indexed)
        found += (
            " AND (title LIKE ? ESCAPE '\\' OR id IN "
            f"(SELECT conversation FROM turns WHERE {condition}))"
        )
        values += [messages_table.like(word), value]
    with store.reading() as db:
        rows = db.execute(
            "SELECT id, title, pinned, model, updated_s, folder, archived FROM conversations "
            f"WHERE owner = ?{found} ORDER BY archived, pinned DESC, updated_s DESC",
            values,
        ).fetchall()
        hits = _hits(db, store.indexed, owner, query)
    return [
        ConversationSummary(
            *(key, title, bool(pinned), model, updated_s),
            *(hits.get(key, ""), folder, bool(archived)),
        )
        for key, title, pinned, model, updated_s, folder, archived in rows
    ]


def _hits(db: sqlite3.Connection, indexed: bool, owner: str, query: str) -> dict[str, str]:
    """Of each conversation, where its newest message has the first word that one has."""
    found: dict[str, str] = {}
    for word in query.split():
        condition, value = messages_table.having(word, indexed)
        rows = db.execute(
            f"SELECT conversation, text, max(serial) FROM turns WHERE {condition} "
            "AND conversation IN (SELECT id FROM conversations WHERE owner = ?) "
            "GROUP BY conversation",
            (value, owner),
        )
        found = {key: snippet(text, word) for key, text, _ in rows} | found
    return found


def snippet(text: str, word: str) -> str:
    """A line of text around the first place of a word, without marks of Markdown."""
    line = " ".join(MARKS.sub("", text).split())
    if word.lower() not in line.lower():
        line = " ".join(text.split())
    at = max(line.lower().find(word.lower()), 0)
    begin = max(at - SNIPPET_BEFORE, 0)
    if begin:  # with a whole word, where words have gaps
        begin = line.find(" ", begin, at) + 1 or begin
    end = begin + SNIPPET_CHARACTERS
    return f"{'…' if begin else ''}{line[begin:end].strip()}{'…' if end < len(line) else ''}"
