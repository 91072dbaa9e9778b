"""Progress of downloads from the hub, which huggingface_hub shows in bars of its own only."""

import threading
from typing import Any

from huggingface_hub.utils.tqdm import tqdm

from mlx_deepseek.runtime.progress import Progress


class DownloadProgress:
    """Adds up bytes of parallel downloads; huggingface_hub reports them to progress bars only."""

    def __init__(self, progress: Progress | None = None, done: int = 0, total: int = 0):
        self.progress = progress
        self.cached, self.done, self.total = done, done, total
        self.lock = threading.Lock()

    def bars(self) -> type[tqdm]:
        """A class of bars that show nothing and report here."""
        report = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **kwargs: Any):
                self.of_bytes = kwargs.get("unit") == "B"
                self.seen = 0.0
                super().__init__(*args, **{**kwargs, "disable": True})

            def update(self, n: float | None = 1) -> None:
                self.seen += n or 0
                if self.of_bytes:
                    report.advance(int(self.seen))

        return Bar

    def advance(self, downloaded: int) -> None:
        """Take the bar that is furthest: network and disk have one each."""
        with self.lock:
            done = min(self.cached + downloaded, self.total)
            if done > self.done:
                self.done = done
                if self.progress is not None:
                    self.progress("download", done, self.total)

    def finish(self) -> None:
        """Report the end, which for a cached checkpoint is the only report."""
        if self.progress is not None:
            self.progress("download", self.total, self.total)
