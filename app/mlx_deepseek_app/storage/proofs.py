"""Accepted proofs, kept beside the conversations."""

import time
import uuid
from dataclasses import dataclass

from mlx_deepseek_app.storage.store import Store

SHOWN_AT_MOST = 50


@dataclass(frozen=True)
class KeptProof:
    """A proof that Lean accepted: `source` is the file to the theorem's end.

    `rests` is what the judge said of it, `made_s` seconds since 1970.
    """

    id: str
    source: str
    rests: str
    made_s: float


class Proofs:
    """What a tab has proved.

    Raises (each method):
        StoreError: what was kept cannot be read or written.
    """

    def __init__(self, store: Store, tab: str) -> None:
        self._store = store
        self._owner = store.owner(tab)

    def keep(self, source: str, rests: str) -> None:
        """Keep a proof, once however often it is found."""
        values = (uuid.uuid4().hex, self._owner, source, rests, time.time())
        with self._store.writing() as db:
            same = "DELETE FROM proofs WHERE owner = ? AND source = ?"
            db.execute(same, (self._owner, source))
            db.execute(
                "INSERT INTO proofs (id, owner, source, rests, made_s) VALUES (?, ?, ?, ?, ?)",
                values,
            )

    def entries(self) -> list[KeptProof]:
        """The newest first."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT id, source, rests, made_s FROM proofs WHERE owner = ? "
                "ORDER BY made_s DESC LIMIT ?",
                (self._owner, SHOWN_AT_MOST),
            )
            return [KeptProof(*row) for row in rows]

    def delete(self, key: str) -> None:
        """Forget one."""
        with self._store.writing() as db:
            db.execute("DELETE FROM proofs WHERE owner = ? AND id = ?", (self._owner, key))
