"""The gallery: drawn pictures as PNG files that say what made them, and an index to search them.

The files are what counts: an index that is lost or damaged is made anew from them.
"""

import json
import shutil
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from mlx_deepseek.errors import ImageError
from mlx_deepseek.image_generation.draw import Origin, Picture, read_origin
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.messages_table import like

FOLDER, INDEX = "drawings", "index.sqlite"
SHOWN_AT_MOST = 60
TABLE = (
    "CREATE TABLE IF NOT EXISTS drawings (id TEXT PRIMARY KEY, owner TEXT NOT NULL, "
    "words TEXT NOT NULL, origin TEXT NOT NULL, score REAL, made_s REAL NOT NULL)"
)


@dataclass(frozen=True)
class Drawing:
    """A kept picture; `made_s` is seconds since 1970."""

    id: str
    origin: Origin
    score: float | None
    made_s: float


class Drawings:
    """Pictures in `folder`, or without one in a temporary folder that ends with the process.

    An owner sees its own only. Raises (each method):
        StoreError: the folder cannot be used, for instance because the disk is full.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._copies = tempfile.TemporaryDirectory(prefix="drawings-")  # the page serves from it
        self.kept = folder is not None
        self.folder = folder or Path(self._copies.name)
        self._lock = threading.RLock()
        self._index: sqlite3.Connection | None = None

    def add(self, owner: str, picture: Picture) -> str:
        """Keep a picture, once however often it is drawn; returns its id."""
        key, part = uuid.uuid4().hex, self.folder / f"{uuid.uuid4().hex}.part"
        with self._using() as db:
            same = "owner = ? AND origin = ?"
            values = owner, _text(picture.origin)
            known = db.execute(f"SELECT id FROM drawings WHERE {same}", values).fetchone()
            if known and self._file(known[0]).exists():
                db.execute("UPDATE drawings SET made_s = ? WHERE id = ?", (time.time(), known[0]))
                return known[0]
            db.execute(f"DELETE FROM drawings WHERE {same}", values)
            try:
                picture.save(part)
                part.rename(self._file(key))
            except OSError:
                part.unlink(missing_ok=True)
                raise
            self._enter(db, owner, Drawing(key, picture.origin, picture.score, time.time()))
        return key

    def entries(self, owner: str, query: str = "") -> list[Drawing]:
        """The newest first; with a query those whose prompt or model has all its words."""
        words = query.split()
        found = " AND words LIKE ? ESCAPE '\\'" * len(words)
        return self._found(owner, found, [like(word.casefold()) for word in words])

    def find(self, owner: str, key: str) -> Drawing | None:
        """A picture by its id."""
        return next(iter(self._found(owner, " AND id = ?", [key])), None)

    def delete(self, owner: str, key: str) -> None:
        """Forget a picture for good."""
        with self._using() as db:
            mine = db.execute("DELETE FROM drawings WHERE id = ? AND owner = ?", (key, owner))
            if mine.rowcount:
                self._file(key).unlink(missing_ok=True)
                (Path(self._copies.name) / self._file(key).name).unlink(missing_ok=True)

    def file(self, key: str) -> str:
        """A copy of the PNG that the page may serve; empty if the file is gone."""
        copy = Path(self._copies.name) / f"{key}.png"
        with self._using():
            if not copy.exists():
                with suppress(FileNotFoundError):
                    shutil.copyfile(self._file(key), copy)
        return str(copy) if copy.exists() else ""

    def left(self, owner: str) -> None:
        """A tab was closed: what is not kept is forgotten."""
        if not self.kept:
            for drawing in self.entries(owner):
                self.delete(owner, drawing.id)

    def _found(self, owner: str, condition: str, values: list[str]) -> list[Drawing]:
        with self._using() as db:
            rows = db.execute(
                f"SELECT id, origin, score, made_s FROM drawings WHERE owner = ?{condition} "
                "ORDER BY made_s DESC, rowid DESC LIMIT ?",
                (owner, *values, SHOWN_AT_MOST),
            ).fetchall()
        return [Drawing(key, Origin(**json.loads(text)), *rest) for key, text, *rest in rows]

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.png"

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._index is None:
                    self._index = self._open()
                yield self._index
            except (OSError, sqlite3.Error) as error:
                raise StoreError(
                    f"{self.folder}: the gallery cannot be used ({error}). Is the disk full?"
                ) from error

    def _open(self) -> sqlite3.Connection:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / INDEX
        with suppress(sqlite3.DatabaseError):
            return self._connected(path)
        path.unlink(missing_ok=True)  # damaged: the files have all that stood in it
        return self._connected(path)

    def _connected(self, path: Path) -> sqlite3.Connection:
        new = not path.exists()
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            db.execute(TABLE)
            db.execute("SELECT count(*) FROM drawings")
        except sqlite3.DatabaseError:
            db.close()
            raise
        if new and self.kept:
            for file in self.folder.glob("*.png"):
                self._again(db, file)
        return db

    def _again(self, db: sqlite3.Connection, file: Path) -> None:
        with suppress(OSError, ImageError), Image.open(file) as image:
            origin = read_origin(image)
            if origin is not None:
                made_s = file.stat().st_mtime
                self._enter(db, "", Drawing(file.stem, origin, None, made_s))

    def _enter(self, db: sqlite3.Connection, owner: str, drawing: Drawing) -> None:
        words = f"{drawing.origin.prompt} {drawing.origin.model}".casefold()
        values = drawing.id, owner, words, _text(drawing.origin), drawing.score, drawing.made_s
        db.execute("INSERT INTO drawings VALUES (?, ?, ?, ?, ?, ?)", values)


def _text(origin: Origin) -> str:
    return json.dumps(asdict(origin), ensure_ascii=False)
