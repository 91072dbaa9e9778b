"""Gradio without what it brings along and the app does not use, which takes a second of CPU."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

LATE = "pandas"  # for tables and plots: read when something asks for it
# after how many events Gradio sums up, by pandas, for a dashboard that the app does not show
SUMS_UP_AFTER = "GRADIO_ANALYTICS_CACHE_FREQUENCY", str(sys.maxsize)
ABSENT = "mcp"  # for a server of Gradio's own, which does without where it is not installed


def import_gradio() -> None:
    """Import Gradio, unless it is there; what others import later is whole."""
    os.environ.setdefault(*SUMS_UP_AFTER)
    if "gradio" not in sys.modules:
        with late(LATE), absent(ABSENT):
            import gradio  # noqa: F401


class Late(MetaPathFinder):
    """Finds one module, which is read at the first use of anything in it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is; nothing of others."""
        found = PathFinder.find_spec(fullname, path, target) if fullname == self._name else None
        if found is not None and found.loader is not None:
            found.loader = LazyLoader(found.loader)
        return found


@contextmanager
def late(name: str) -> Iterator[None]:
    """What imports a module within it gets one that is read when it is used."""
    finder = Late(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Within it a module that nobody has imported yet is not found."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
