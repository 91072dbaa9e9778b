"""The code page: what belongs in the gap of a file, given the files around it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import gradio as gr

from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.queue import Answer
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE, QUIET

FILES_AT_MOST = 50
FILE_BYTES_AT_MOST = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file's name and its text."""

    path: str
    text: str


def read_files(paths: Sequence[str]) -> tuple[list[SourceFile], list[str]]:
    """The files that are text and not too large, and what is wrong with the others."""
    files, wrong = [], []
    for path in map(Path, paths[:FILES_AT_MOST]):
        if path.stat().st_size > FILE_BYTES_AT_MOST:
            wrong.append(f"{path.name} is larger than {FILE_BYTES_AT_MOST >> 20} MiB.")
            continue
        try:
            files.append(SourceFile(path.name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            wrong.append(f"{path.name} is not text in UTF-8.")
    if len(paths) > FILES_AT_MOST:
        wrong.append(f"{len(paths)} files at once. Only the first {FILES_AT_MOST} are read.")
    return files, wrong


def fitting(
    files: Iterable[SourceFile], room: int, count: Callable[[str], int]
) -> tuple[list[SourceFile], list[str]]:
    """Files whose tokens, as `count` says, fit into `room` in this order; the others' names."""
    kept, left_out = [], []
    for file in files:
        need = count(f"#{file.path}\n{file.text}\n\n")
        if need > room:
            left_out.append(file.path)
            continue
        room -= need
        kept.append(file)
    return kept, left_out


REFRESH_S = 0.25  # a long file is drawn anew each time
CODE_AT_MOST = 400_000  # characters around the gap
EXAMPLE = "def mean(numbers):\n    "
EXAMPLE_END = "\n\nprint(mean([1, 2, 3]))"
MARGIN = 16  # tokens for markers and for words that are cut differently when joined
LANGUAGES = {
    ".py": "python", ".js": "javascript", ".jsx": "jsx", ".ts": "typescript", ".tsx": "tsx",
    ".c": "c", ".h": "c", ".cpp": "cpp", ".cc": "cpp", ".hpp": "cpp", ".json": "json",
    ".html": "html", ".css": "css", ".sh": "shell", ".sql": "sql", ".yaml": "yaml",
    ".yml": "yaml", ".md": "markdown", ".r": "r", ".tex": "latex"
}  # fmt: skip


class CodeTab(JobTab):
    """Components and handlers of the page."""

    name = "code"
    title = "Code"
    about = "Write what stands before and after a gap; the model writes what belongs between."

    def __init__(self, service: ModelService, store: Store) -> None:
        super().__init__(service, store)
        with self.frame():
            with self.asking():
                self.files = self.upload(
                    f"Other files it builds on, in order (up to {FILES_AT_MOST})"
                )
                with self.choosing():
                    self.path = gr.Textbox(
                        label="Name of this file", value="main.py", max_length=200
                    )
                    self.tokens = gr.Slider(8, 1024, 128, step=8, label="Tokens to fill in at most")
                    self.temperature = gr.Slider(0, 2, 0, step=0.05, label="Temperature")
                with self.choosing():
                    self.buttons("Fill in")
                    self.keep = gr.Button("Keep", elem_id="code-keep", interactive=False)
            with gr.Column(elem_id="code-editor"):
                self.prefix = self._pane("before", "Code before the gap", EXAMPLE)
                self.filled = self._pane("filled", "The gap", "")
                self.suffix = self._pane("after", "Code after the gap (optional)", EXAMPLE_END)
            gr.HTML("<p>Tab indents; after Esc it leaves an editor.</p>", elem_id="code-note")
        asked = [self.prefix, self.suffix, self.files, self.path, self.tokens, self.temperature]
        shown = [self.state, self.filled, self.go, self.halt, self.keep]
        self.go.click(self.on_fill, asked, shown, **FREE)
        panes = [self.prefix, self.filled, self.suffix]
        self.path.change(self.on_path, self.path, panes, queue=False, **QUIET)
        kept = [self.prefix, self.filled, self.keep]
        self.keep.click(self.on_keep, [self.prefix, self.filled], kept, **QUIET)

    def _pane(self, name: str, label: str, value: str) -> gr.Code:
        pane = gr.Code(
            label=label,
            language="python",
            lines=3,
            max_lines=24,
            interactive=True,
            buttons=["copy"],
            elem_id=f"code-{name}",
        )
        # gradio strips the blanks at the ends, which count beside a gap
        pane.value, pane.postprocess = value, lambda value: value  # type: ignore[method-assign]
        return pane

    async def on_fill(
        self,
        request: gr.Request,
        prefix: str | None,
        suffix: str | None,
        paths: list[str] | None,
        path: str,
        max_tokens: int,
        temperature: float,
    ) -> AsyncIterator[Updates]:
        """Write what belongs between the panes, as it comes."""
        prefix, suffix = prefix or "", suffix or ""
        if not (prefix + suffix).strip():
            yield {self.state: status.failed("Write some code first.")}
            return
        if len(prefix + suffix) > CODE_AT_MOST:
            yield {self.state: status.failed(f"Expected at most {CODE_AT_MOST:,} characters.")}
            return
        files, wrong = await asyncio.to_thread(read_files, paths or [])

        def fill(engine: Any) -> Iterable[Any]:
            room = engine.context_length - int(max_tokens) - MARGIN
            room -= len(engine.encode(prefix)) + len(engine.encode(suffix))
            kept, left_out = fitting(files, room, lambda text: len(engine.encode(text)))
            if left_out:
                wrong.append(f"No room in the context for {', '.join(left_out)}.")
            sampling = Sampling(temperature=float(temperature))
            return engine.stream_completion(
                prefix, suffix, sampling=sampling, max_tokens=int(max_tokens), **around(kept, path)
            )

        self.on_stop(request)
        answer = Answer(job := self.service.stream(self.owner(request), fill))
        async for buttons in self.follow(job, REFRESH_S, answer.take):
            costs = status.costs(answer.usage) if answer.usage else []
            notes = "".join(map(status.failed, wrong))
            yield {
                self.state: notes + self.state_html(job, "Writing", costs),
                self.filled: answer.text,
                self.keep: gr.Button(interactive=job.finished and bool(answer.text)),
                **buttons,
            }

    def on_keep(self, prefix: str | None, filled: str) -> Updates:
        """Take what was filled in as part of the code before the gap."""
        return {
            self.prefix: (prefix or "") + filled,
            self.filled: "",
            self.keep: gr.Button(interactive=False),
        }

    def on_path(self, path: str) -> Any:
        """Colour the code as the file's name says."""
        language: Any = LANGUAGES.get(PurePath(path).suffix.lower())
        return (gr.Code(language=language),) * 3


def around(files: Iterable[SourceFile], path: str) -> dict[str, Any]:
    """Options of the engine: other files, and this one's name, which matters only beside them."""
    pairs = [(file.path, file.text) for file in files]
    return {"files": pairs, "path": path.strip() or "main.py"} if pairs else {}
