"""Switches of the app itself, kept by name."""

from mlx_deepseek_app.storage.store import Store

TITLES = "titles"  # written by the model


class Options:
    """What a tab has chosen; what was never chosen is on.

    Raises (each method):
        StoreError: they cannot be read or written.
    """

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner

    def on(self, name: str) -> bool:
        """Whether it is on."""
        with self._store.reading() as db:
            mine = "SELECT chosen FROM options WHERE owner = ? AND name = ?"
            row = db.execute(mine, (self._owner, name)).fetchone()
        return row is None or bool(row[0])

    def choose(self, name: str, on: bool) -> None:
        """Turn it on or off."""
        with self._store.writing() as db:
            db.execute(
                "INSERT INTO options (owner, name, chosen) VALUES (?, ?, ?) "
                "ON CONFLICT (owner, name) DO UPDATE SET chosen = excluded.chosen",
                (self._owner, name, int(on)),
            )
