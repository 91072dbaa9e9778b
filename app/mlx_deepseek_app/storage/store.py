"""Where what is remembered is kept: a file in the user's folder, or the memory of this process."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_deepseek_app.storage import database, messages_table
from mlx_deepseek_app.storage.database import StoreError, transaction
from mlx_deepseek_app.storage.uploads import copies_folder

FILE = "conversations.sqlite"
PREFIXES = "prefixes"
OWN_TABLES = ("presets", "model_settings", "options", "proofs")  # beside conversations


def prefix_folder(folder: Path) -> Path:
    """Where models keep what they have read of the conversations in `folder`."""
    return folder / PREFIXES


class Store:
    """All conversations: one user's in `folder`, or each tab's own in memory without.

    A damaged file is set aside, and one that cannot be used is left alone; `notice` says so.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.notice = ""
        self.changes = 0  # grows with what this process writes
        self.path = None if folder is None else folder / FILE
        self.database = self._open()
        self.lock = threading.RLock()
        self.indexed = messages_table.begin_index(self.database)

    def owner(self, tab: str) -> str:
        """Whose what a tab keeps is: the one user's, or in memory the tab's own."""
        return "" if self.path else tab

    def left(self, tab: str) -> None:
        """A tab was closed: in memory what it kept is forgotten."""
        if self.path is None:
            with self.writing() as db:
                mine = "SELECT id FROM conversations WHERE owner = ?"
                for (key,) in db.execute(mine, (tab,)).fetchall():
                    messages_table.forget(db, key, self.indexed)
                db.execute("DELETE FROM conversations WHERE owner = ?", (tab,))
                for table in OWN_TABLES:
                    db.execute(f"DELETE FROM {table} WHERE owner = ?", (tab,))
            self.forget_traces()

    def forget_traces(self) -> None:
        """Remove what was made of conversations, among which may be a deleted one.

        That is what models have read of them, and small copies of pictures, which are made anew
        where they are shown.
        """
        if self.path is not None:
            shutil.rmtree(prefix_folder(self.path.parent), ignore_errors=True)
        shutil.rmtree(copies_folder(), ignore_errors=True)

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self.lock:
            self.database.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database for a moment.

        Raises:
            StoreError: instead of SQLite's own errors.
        """
        with self.lock:
            try:
                yield self.database
            except sqlite3.Error as error:
                advice = "Is the disk full?"
                if database.is_damage(error):
                    advice = "Start the app again: it sets a damaged file aside."
                where = self.path or "memory"
                raise StoreError(f"{where}: cannot be used ({error}). {advice}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The database for changes that are made together or not at all."""
        with self.reading() as db, transaction(db):
            yield db
            self.changes += 1

    def _open(self) -> sqlite3.Connection:
        try:
            return database.connect(self.path)
        except StoreError as error:
            self.notice = f"Conversations are not kept this time. {error}"
        except sqlite3.DatabaseError as error:
            assert self.path is not None
            aside = database.set_aside(self.path)
            self.notice = (
                f"The file of conversations was damaged ({error}). It is set aside as {aside}, "
                "and a new one has begun."
            )
            return database.connect(self.path)
        self.path = None
        return database.connect(None)
