"""What was uploaded: where it lies, who needs it still, and when it goes."""

import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path


def uploads_folder() -> Path:
    """Where Gradio puts what is uploaded; the app's command names a private one."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def copies_folder() -> Path:
    """Where copies of pictures lie that the page shows: among the uploads."""
    return uploads_folder() / "mlx-deepseek-copies"


def remove(path: str) -> None:
    """Remove an upload; a file that lies elsewhere is the user's own and stays."""
    if uploads_folder().resolve() in Path(path).resolve().parents:
        Path(path).unlink(missing_ok=True)


class Uploads:
    """Files by who needs them; the same file sent by two tabs is one on the disk."""

    def __init__(self) -> None:
        self._needed: dict[str, frozenset[str]] = {}
        self._lock = threading.Lock()

    def need(self, who: str, paths: Iterable[str] = ()) -> None:
        """Keep these for somebody, and remove what nobody needs any more."""
        with self._lock:
            before = self._needed.pop(who, frozenset())
            if now := frozenset(paths):
                self._needed[who] = now
            for path in before.difference(*self._needed.values()):
                remove(path)
