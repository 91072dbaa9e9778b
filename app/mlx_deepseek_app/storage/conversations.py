"""Conversations that are remembered: listed, searched, opened, and written while they grow.

One file may be shared by several tabs and processes. A message is written once and then left alone,
all but the reply that is being made, so that nobody overwrites what another has added.
"""

import json
import sqlite3
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.messages import is_tree
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.storage import messages_table
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.listing import ConversationSummary, entries
from mlx_deepseek_app.storage.store import OWN_TABLES, Store
from mlx_deepseek_app.storage.titles import first_words, numbered, shortened

USER, MODEL = "user", "model"  # who wrote a title


@dataclass(frozen=True)
class SavedConversation:
    """A conversation with all that is remembered of it; no title means its first words.

    `updated_s` is seconds since 1970; 0 means now. `titled_by` is "user" or "model"; "" where the
    title is its first words, or where nobody noted who wrote it.
    """

    conversation: Conversation
    settings: PanelSettings
    model: str = ""
    title: str = ""
    pinned: bool = False
    updated_s: float = 0.0
    folder: str = ""
    archived: bool = False
    titled_by: str = ""


class Conversations:
    """What one user sees of a store; another's conversations are as if they were not there."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner

    def entries(self, query: str = "") -> list[ConversationSummary]:
        """Pinned ones first, then the newest; with a query those that have all its words."""
        return entries(self._store, self._owner, query)

    def all(self) -> list[SavedConversation]:
        """Every conversation, the oldest first."""
        opened = (self.open(entry.id) for entry in self.entries())
        return sorted((one for one in opened if one), key=lambda one: one.updated_s)

    def clear(self) -> None:
        """Forget every conversation, preset and setting of one's own, for good."""
        with self._store.writing() as db:
            mine = "SELECT id FROM conversations WHERE owner = ?"
            for (key,) in db.execute(mine, (self._owner,)).fetchall():
                self._remove(db, key)
            for table in OWN_TABLES:
                db.execute(f"DELETE FROM {table} WHERE owner = ?", (self._owner,))
        self._store.forget_traces()

    def open(self, key: str) -> SavedConversation | None:
        """A conversation; None if there is none of that id."""
        with self._store.reading() as db:
            row = db.execute(
                "SELECT title, pinned, model, settings, tip, updated_s, folder, archived, "
                "titled_by FROM conversations WHERE id = ? AND owner = ?",
                (key, self._owner),
            ).fetchone()
            nodes = messages_table.read(db, key)
        if row is None:
            return None
        if not is_tree(nodes):
            raise StoreError(
                f"Conversation {key}: its messages do not follow each other. Delete it, or restore "
                f"{self._store.path} from a copy."
            )
        title, pinned, model, settings, leaf, updated_s, folder, archived, titled_by = row
        conversation = Conversation(nodes, leaf, key)
        chosen = PanelSettings(**json.loads(settings))
        return SavedConversation(
            *(conversation, chosen, model, title, bool(pinned), updated_s),
            *(folder, bool(archived), titled_by),
        )

    def save(
        self, conversation: Conversation, settings: PanelSettings, model: str, *, new: bool = True
    ) -> None:
        """Write the last message as it is now; where it is `new`, all that are not there yet.

        Without `new`, a conversation that was deleted meanwhile stays deleted.
        """
        key = conversation.id
        with self._store.writing() as db:
            if not (new or self._has(db, key)):
                return
            self._head(db, SavedConversation(conversation, settings, model))
            if new:
                messages_table.add(db, key, conversation.nodes)
            messages_table.update(db, key, conversation.messages[-1])
            if self._store.indexed:
                messages_table.index(db, key, conversation.messages[-2:])

    def add(self, saved: SavedConversation) -> None:
        """Write a whole conversation, in place of what there was of that id."""
        key = saved.conversation.id
        with self._store.writing() as db:
            self._remove(db, key)
            self._head(db, saved)
            messages_table.add(db, key, saved.conversation.nodes)
            if self._store.indexed:
                messages_table.index(db, key, saved.conversation.nodes)

    def rewrite(self, conversation: Conversation) -> None:
        """Write a conversation from which messages were deleted; without any it is deleted too."""
        saved = self.open(conversation.id)
        if saved is None:
            return
        if not conversation.nodes:
            self.delete(conversation.id)
            return
        # a title that nobody chose may be what was to be forgotten
        noted = not saved.titled_by and saved.title != first_words(saved.conversation)
        title, by = (saved.title, saved.titled_by) if noted or saved.titled_by == USER else ("", "")
        kept = replace(saved, conversation=conversation, title=title, titled_by=by, updated_s=0.0)
        self.add(kept)
        self._store.forget_traces()

    def extend(self, conversation: Conversation) -> None:
        """Write the messages that are new and complete, the last of which is shown."""
        key = conversation.id
        with self._store.writing() as db:
            if not self._has(db, key):
                return
            messages_table.add(db, key, conversation.nodes)
            if self._store.indexed:
                messages_table.index(db, key, conversation.messages[-1:])
        self.show(conversation)

    def show(self, conversation: Conversation) -> None:
        """Remember which branch of a conversation is shown."""
        self._set(conversation.id, "tip", conversation.leaf)

    def rename(self, key: str, title: str) -> None:
        """Give a conversation another title; an empty one changes nothing."""
        title = shortened(title)
        if title:
            self._set(key, "title", title)
            self._set(key, "titled_by", USER)

    def untitled(self, conversation: Conversation) -> bool:
        """Whether a conversation is there, and its first words are all that names it."""
        with self._store.reading() as db:
            mine = "SELECT title, titled_by FROM conversations WHERE id = ? AND owner = ?"
            row = db.execute(mine, (conversation.id, self._owner)).fetchone()
        return row == (first_words(conversation), "")

    def entitle(self, key: str, title: str) -> None:
        """Give a conversation the title that a model wrote, unless the user gave one meanwhile."""
        with self._store.writing() as db:
            db.execute(
                "UPDATE conversations SET title = ?, titled_by = ? "
                "WHERE id = ? AND owner = ? AND titled_by = ''",
                (shortened(title), MODEL, key, self._owner),
            )

    def pin(self, key: str, pinned: bool) -> None:
        """Keep a conversation at the top of the list, or no longer."""
        self._set(key, "pinned", int(pinned))

    def archive(self, key: str, archived: bool) -> None:
        """Put a conversation out of sight, or back."""
        self._set(key, "archived", int(archived))

    def move(self, key: str, folder: str) -> None:
        """Put a conversation into a folder, which is made by that, or with "" into none."""
        self._set(key, "folder", shortened(folder))

    def rename_folder(self, old: str, new: str) -> None:
        """Give a folder another name; with "" its conversations are in none."""
        with self._store.writing() as db:
            db.execute(
                "UPDATE conversations SET folder = ? WHERE folder = ? AND owner = ?",
                (shortened(new), old, self._owner),
            )

    def branch(self, origin: str, index: int | None = None) -> SavedConversation | None:
        """Keep a copy of a conversation, or of what is shown up to a reply, as one of its own."""
        saved = self.open(origin)
        if saved is None:
            return None
        copy = replace(
            saved,
            conversation=saved.conversation.branched(index),
            title=numbered(saved.title, {one.title for one in self.entries()}),
            pinned=False,
            archived=False,
            updated_s=0.0,
        )
        self.add(copy)
        return copy

    def delete(self, key: str) -> None:
        """Forget a conversation for good."""
        with self._store.writing() as db:
            self._remove(db, key)
        self._store.forget_traces()

    def _has(self, db: sqlite3.Connection, key: str) -> bool:
        mine = "SELECT 1 FROM conversations WHERE id = ? AND owner = ?"
        return db.execute(mine, (key, self._owner)).fetchone() is not None

    def _remove(self, db: sqlite3.Connection, key: str) -> None:
        if self._has(db, key):
            db.execute("DELETE FROM conversations WHERE id = ?", (key,))
            messages_table.forget(db, key, self._store.indexed)

    def _head(self, db: sqlite3.Connection, saved: SavedConversation) -> None:
        conversation = saved.conversation
        title = saved.title or first_words(conversation)
        settings = json.dumps(asdict(saved.settings))
        db.execute(
            "INSERT INTO conversations (id, owner, title, pinned, model, settings, tip, "
            "updated_s, folder, archived, titled_by) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "model = excluded.model, settings = excluded.settings, tip = excluded.tip, "
            "updated_s = excluded.updated_s",
            (
                *(conversation.id, self._owner, title, int(saved.pinned)),
                *(saved.model, settings, conversation.leaf, saved.updated_s or time.time()),
                *(saved.folder, int(saved.archived), saved.titled_by),
            ),
        )

    def _set(self, key: str, column: str, value: Any) -> None:
        change = f"UPDATE conversations SET {column} = ? WHERE id = ? AND owner = ?"
        with self._store.writing() as db:
            db.execute(change, (value, key, self._owner))


def conversations_of(store: Store, tab: str) -> Conversations:
    """The conversations that a tab may see."""
    return Conversations(store, store.owner(tab))
