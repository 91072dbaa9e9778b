"""The file that conversations are kept in: opened, made, or set aside when it is damaged."""

import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_deepseek.errors import DeepSeekError

VERSION = 9
BUSY_TIMEOUT_S = 10.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
SCHEMA = """
CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    title TEXT NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,
    tip TEXT NOT NULL,
    updated_s REAL NOT NULL
);
CREATE TABLE turns (
    serial INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    reasoning TEXT NOT NULL,
    state TEXT NOT NULL,
    error TEXT NOT NULL,
    thinking_s REAL,
    usage TEXT,
    UNIQUE (conversation, id)
);
"""
# what each later version adds
ADDED = {
    2: "ALTER TABLE turns ADD COLUMN calls TEXT NOT NULL DEFAULT '[]'",
    3: "ALTER TABLE turns ADD COLUMN pictures TEXT NOT NULL DEFAULT '[]'",
    4: "CREATE TABLE presets (owner TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL, "
    "PRIMARY KEY (owner, name))",
    5: "ALTER TABLE turns ADD COLUMN texts TEXT NOT NULL DEFAULT '[]'",
    6: "CREATE TABLE model_settings (owner TEXT NOT NULL, model TEXT NOT NULL, "
    "settings TEXT NOT NULL, PRIMARY KEY (owner, model))",
    7: "ALTER TABLE turns ADD COLUMN written_s REAL NOT NULL DEFAULT 0; "
    "ALTER TABLE conversations ADD COLUMN folder TEXT NOT NULL DEFAULT ''; "
    "ALTER TABLE conversations ADD COLUMN archived INTEGER NOT NULL DEFAULT 0",
    8: "ALTER TABLE conversations ADD COLUMN titled_by TEXT NOT NULL DEFAULT ''; "
    "CREATE TABLE options (owner TEXT NOT NULL, name TEXT NOT NULL, chosen INTEGER NOT NULL, "
    "PRIMARY KEY (owner, name))",
    9: "CREATE TABLE proofs (id TEXT PRIMARY KEY, owner TEXT NOT NULL, source TEXT NOT NULL, "
    "rests TEXT NOT NULL, made_s REAL NOT NULL)",
}


class StoreError(DeepSeekError):
    """Conversations that cannot be kept, read or brought in."""


def data_folder(wanted: str | None = None) -> Path:
    """`wanted`, else $MLX_DEEPSEEK_DATA, else where this system keeps its users' data."""
    chosen = wanted or os.environ.get("MLX_DEEPSEEK_DATA")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/mlx-deepseek").expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "mlx-deepseek"


def connect(path: Path | None) -> sqlite3.Connection:
    """An open database with its tables, in memory without `path`.

    Raises:
        StoreError: it cannot be opened, or a newer version of the app has written it.
        sqlite3.DatabaseError: it is damaged.
    """
    try:
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        database = sqlite3.connect(
            path or ":memory:",
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
    except (OSError, sqlite3.OperationalError) as error:
        raise StoreError(
            f"{path}: conversations cannot be kept there ({error}). Choose another --data FOLDER."
        ) from error
    try:
        _prepare(database, path)
    except BaseException as error:
        database.close()
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise StoreError(f"{path}: cannot be opened ({error}).") from error
        raise
    return database


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file, not the moment, is at fault."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in DAMAGED


def set_aside(path: Path) -> Path:
    """Rename a damaged file, its journal with it; returns its new name."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


def _prepare(database: sqlite3.Connection, path: Path | None) -> None:
    # a killed process loses nothing that was committed; a power cut at most the last seconds
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON;"
    )
    with transaction(database):  # two processes may start at once
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(
                f"{path}: written by a newer version of the app (format {version}, this one knows "
                f"{VERSION}). Update mlx-deepseek, or choose another --data FOLDER."
            )
        steps = {1: SCHEMA, **ADDED}
        for step in range(version + 1, VERSION + 1):
            for statement in steps[step].split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {step}")
    fault = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if fault != "ok":
        damage = sqlite3.DatabaseError(fault)
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """A block of changes that are written together or not at all."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # SQLite ends it itself when the disk is full
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
