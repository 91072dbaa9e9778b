"""Settings that are kept for a model: what a new conversation with it begins with."""

import json
from dataclasses import asdict

from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.storage.store import Store


class ModelSettings:
    """What a tab has kept for each model.

    Raises (each method):
        StoreError: it cannot be read or written.
    """

    def __init__(self, store: Store, tab: str) -> None:
        self._store = store
        self._owner = store.owner(tab)

    def of(self, model: str) -> PanelSettings | None:
        """The settings kept for a model; None where there are none."""
        with self._store.reading() as db:
            row = db.execute(
                "SELECT settings FROM model_settings WHERE owner = ? AND model = ?",
                (self._owner, model),
            ).fetchone()
        return None if row is None else PanelSettings(**json.loads(row[0]))

    def keep(self, model: str, settings: PanelSettings) -> None:
        """Keep settings for a model, in place of those it had."""
        with self._store.writing() as db:
            db.execute(
                "INSERT INTO model_settings (owner, model, settings) VALUES (?, ?, ?) "
                "ON CONFLICT (owner, model) DO UPDATE SET settings = excluded.settings",
                (self._owner, model, json.dumps(asdict(settings))),
            )

    def forget(self, model: str) -> None:
        """Begin with what the model's makers recommend again."""
        with self._store.writing() as db:
            db.execute(
                "DELETE FROM model_settings WHERE owner = ? AND model = ?", (self._owner, model)
            )
