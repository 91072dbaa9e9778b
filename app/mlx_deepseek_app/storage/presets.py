"""System prompts to start from: some that come with the app, and the user's own, kept by name."""

from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.storage.titles import shortened

NONE = "none"
PRESETS = {
    NONE: "",
    "brief": "Answer in as few words as the question allows. No introduction, no summary.",
    "teacher": "You are a patient teacher. Explain step by step, with one small example, and end "
    "with a question that shows whether it was understood.",
    "code reviewer": "You review code. Name bugs first, then unclear places, each with its line "
    "and a corrected version. Do not praise.",
    "editor": "Correct spelling, grammar and style of what you are given. Keep its meaning, voice "
    "and language. Give the corrected text, then the changes as a list.",
    "translator, English and Chinese": "Translate English into Chinese and Chinese into English. "
    "Give the translation only.",
}


class Presets:
    """What a tab can choose from.

    Raises (each method):
        StoreError: what was saved cannot be read or written.
    """

    def __init__(self, store: Store, tab: str) -> None:
        self._store = store
        self._owner = store.owner(tab)

    def all(self) -> dict[str, str]:
        """Prompts by name, those that come with the app first."""
        with self._store.reading() as db:
            mine = "SELECT name, text FROM presets WHERE owner = ? ORDER BY name"
            return PRESETS | dict(db.execute(mine, (self._owner,)).fetchall())

    def is_own(self, name: str | None) -> bool:
        """Whether the user has saved one of this name."""
        return name not in PRESETS and name in self.all()

    def name_of(self, system: str | None) -> str | None:
        """The name of the preset that a system prompt is; None if it is none of them."""
        system = (system or "").strip()
        return next((name for name, text in self.all().items() if text == system), None)

    def save(self, name: str | None, text: str | None) -> str:
        """Keep a system prompt, in place of one of the same name; returns the name as kept."""
        name, text = shortened(name or ""), (text or "").strip()
        if not name or not text:
            raise StoreError("Write a system prompt, and its name into the box of presets.")
        if name in PRESETS:
            raise StoreError(f"{name} comes with the app. Choose another name.")
        with self._store.writing() as db:
            db.execute(
                "INSERT INTO presets (owner, name, text) VALUES (?, ?, ?) "
                "ON CONFLICT (owner, name) DO UPDATE SET text = excluded.text",
                (self._owner, name, text),
            )
        return name

    def delete(self, name: str | None) -> None:
        """Forget one of the user's own."""
        if name in PRESETS:
            raise StoreError(f"{name} comes with the app, and stays.")
        with self._store.writing() as db:
            db.execute("DELETE FROM presets WHERE owner = ? AND name = ?", (self._owner, name))
