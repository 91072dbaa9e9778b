"""Conversations that are remembered: listed, searched, opened, and written while they grow.

One file may be shared by several tabs and processes. A turn is written once and then left alone,
all but the reply that is being made, so that nobody overwrites what another has added.
"""

import json
import sqlite3
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mlx_deepseek_app import turn_table
from mlx_deepseek_app.database import StoreError
from mlx_deepseek_app.session import Conversation, Settings
from mlx_deepseek_app.turns import is_tree

if TYPE_CHECKING:
    from mlx_deepseek_app.store import Store

TITLE_CHARACTERS = 60


@dataclass(frozen=True)
class Entry:
    """A conversation's line in the list; `updated_s` is seconds since 1970."""

    id: str
    title: str
    pinned: bool
    model: str
    updated_s: float


@dataclass(frozen=True)
class Kept:
    """A conversation with all that is remembered of it; no title means its first words."""

    conversation: Conversation
    settings: Settings
    model: str = ""
    title: str = ""
    pinned: bool = False


class Conversations:
    """What one user sees of a store; another's conversations are as if they were not there."""

    def __init__(self, store: "Store", owner: str) -> None:
        self._store = store
        self._owner = owner

    def entries(self, query: str = "") -> list[Entry]:
        """Pinned ones first, then the newest; with a query those that have all its words."""
        found, values = "", [self._owner]
        for word in query.split():
            condition, value = turn_table.having(word, self._store.indexed)
            found += (
                " AND (title LIKE ? ESCAPE '\\' OR id IN "
                f"(SELECT conversation FROM turns WHERE {condition}))"
            )
            values += [turn_table.like(word), value]
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT id, title, pinned, model, updated_s FROM conversations "
                f"WHERE owner = ?{found} ORDER BY pinned DESC, updated_s DESC",
                values,
            ).fetchall()
        return [Entry(key, title, bool(pinned), *rest) for key, title, pinned, *rest in rows]

    def open(self, key: str) -> Kept | None:
        """A conversation; None if there is none of that id."""
        with self._store.reading() as db:
            row = db.execute(
                "SELECT title, pinned, model, settings, tip FROM conversations "
                "WHERE id = ? AND owner = ?",
                (key, self._owner),
            ).fetchone()
            nodes = turn_table.read(db, key)
        if row is None:
            return None
        if not is_tree(nodes):
            raise StoreError(
                f"Conversation {key}: its turns do not follow each other. Delete it, or restore "
                f"{self._store.path} from a copy."
            )
        title, pinned, model, settings, tip = row
        conversation = Conversation(nodes, tip, key)
        return Kept(conversation, Settings(**json.loads(settings)), model, title, bool(pinned))

    def save(
        self, conversation: Conversation, settings: Settings, model: str, *, new: bool = True
    ) -> None:
        """Write the turns that are new, and the last one as it is now.

        Without `new`, a conversation that was deleted meanwhile stays deleted.
        """
        key = conversation.id
        with self._store.writing() as db:
            if not (new or self._has(db, key)):
                return
            self._head(db, Kept(conversation, settings, model))
            turn_table.add(db, key, conversation.nodes)
            turn_table.update(db, key, conversation.turns[-1])
            if self._store.indexed:
                turn_table.index(db, key, conversation.turns[-2:])

    def add(self, kept: Kept) -> None:
        """Write a whole conversation, in place of what there was of that id."""
        key = kept.conversation.id
        with self._store.writing() as db:
            self._remove(db, key)
            self._head(db, kept)
            turn_table.add(db, key, kept.conversation.nodes)
            if self._store.indexed:
                turn_table.index(db, key, kept.conversation.nodes)

    def rewrite(self, conversation: Conversation) -> None:
        """Write a conversation from which turns were deleted; without any it is deleted too."""
        kept = self.open(conversation.id)
        if kept is None:
            return
        if not conversation.nodes:
            self.delete(conversation.id)
            return
        # a title that nobody chose may be what was to be forgotten
        chosen = kept.title != _first_words(kept.conversation)
        self.add(replace(kept, conversation=conversation, title=kept.title if chosen else ""))
        self._store.forget_prefixes()

    def extend(self, conversation: Conversation) -> None:
        """Write the turns that are new and complete, the last of which is shown."""
        key = conversation.id
        with self._store.writing() as db:
            if not self._has(db, key):
                return
            turn_table.add(db, key, conversation.nodes)
            if self._store.indexed:
                turn_table.index(db, key, conversation.turns[-1:])
        self.show(conversation)

    def show(self, conversation: Conversation) -> None:
        """Remember which branch of a conversation is shown."""
        self._set(conversation.id, "tip", conversation.tip)

    def rename(self, key: str, title: str) -> None:
        """Give a conversation another title; an empty one changes nothing."""
        title = shortened(title)
        if title:
            self._set(key, "title", title)

    def pin(self, key: str, pinned: bool) -> None:
        """Keep a conversation at the top of the list, or no longer."""
        self._set(key, "pinned", int(pinned))

    def delete(self, key: str) -> None:
        """Forget a conversation for good."""
        with self._store.writing() as db:
            self._remove(db, key)
        self._store.forget_prefixes()

    def _has(self, db: sqlite3.Connection, key: str) -> bool:
        mine = "SELECT 1 FROM conversations WHERE id = ? AND owner = ?"
        return db.execute(mine, (key, self._owner)).fetchone() is not None

    def _remove(self, db: sqlite3.Connection, key: str) -> None:
        if self._has(db, key):
            db.execute("DELETE FROM conversations WHERE id = ?", (key,))
            turn_table.forget(db, key, self._store.indexed)

    def _head(self, db: sqlite3.Connection, kept: Kept) -> None:
        talk = kept.conversation
        title = kept.title or _first_words(talk)
        settings = json.dumps(asdict(kept.settings))
        db.execute(
            "INSERT INTO conversations (id, owner, title, pinned, model, settings, tip, updated_s) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "model = excluded.model, settings = excluded.settings, tip = excluded.tip, "
            "updated_s = excluded.updated_s",
            (
                *(talk.id, self._owner, title, int(kept.pinned)),
                *(kept.model, settings, talk.tip, time.time()),
            ),
        )

    def _set(self, key: str, column: str, value: Any) -> None:
        change = f"UPDATE conversations SET {column} = ? WHERE id = ? AND owner = ?"
        with self._store.writing() as db:
            db.execute(change, (value, key, self._owner))


def shortened(text: str) -> str:
    """One line of text that fits a title."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"


def _first_words(conversation: Conversation) -> str:
    return shortened(conversation.nodes[0].text) or "Untitled"
