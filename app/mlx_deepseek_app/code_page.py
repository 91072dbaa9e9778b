"""The code page: what belongs between two pieces of code, with other files of the repository."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import PurePath
from typing import Any

import gradio as gr

from mlx_deepseek.sampling import Sampling
from mlx_deepseek_app import status
from mlx_deepseek_app.answer import Answer
from mlx_deepseek_app.code_files import FILES_AT_MOST, SourceFile, fitting, read_files
from mlx_deepseek_app.events import FREE, QUIET
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.lane import Job
from mlx_deepseek_app.model import ModelFacts

REFRESH_S = 0.1
CODE_AT_MOST = 400_000  # characters of a pane
MARGIN = 16  # tokens for markers and for words that are cut differently when joined
LANGUAGES = {
    ".py": "python", ".js": "javascript", ".jsx": "jsx", ".ts": "typescript", ".tsx": "tsx",
    ".c": "c", ".h": "c", ".cpp": "cpp", ".cc": "cpp", ".hpp": "cpp", ".json": "json",
    ".html": "html", ".css": "css", ".sh": "shell", ".sql": "sql", ".yaml": "yaml",
    ".yml": "yaml", ".md": "markdown", ".r": "r", ".tex": "latex",
}  # fmt: skip


class CodePage:
    """Components and handlers of the page."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.follows: list[Any] = []
        with gr.Column(elem_id="code", elem_classes="see"):
            with gr.Row(elem_classes="see-ask"):
                self.files = gr.File(
                    label=f"Other files it builds on, in order (up to {FILES_AT_MOST})",
                    file_count="multiple",
                    elem_id="code-files",
                    height=130,
                )
                with gr.Column(elem_classes="see-choose"):
                    self.path = gr.Textbox(
                        label="Name of this file", value="main.py", max_length=200
                    )
                    self.tokens = gr.Slider(8, 1024, 128, step=8, label="Tokens to fill in at most")
                    self.temperature = gr.Slider(0, 2, 0, step=0.05, label="Temperature")
                with gr.Column(elem_classes="see-choose"):
                    self.go = gr.Button("Fill in", variant="primary", elem_id="code-go")
                    self.halt = gr.Button("Stop", elem_id="code-stop", visible=False)
                    self.keep = gr.Button("Keep", elem_id="code-keep", interactive=False)
            self.state = gr.HTML("", elem_id="code-state")
            self.prefix = self._pane("Code before the gap", "def mean(numbers):\n    ")
            self.filled = gr.Code(
                label="What belongs there",
                language="python",
                interactive=False,
                elem_id="code-filled",
            )
            self.suffix = self._pane("Code after the gap (optional)", "")
        self._wire()

    def _pane(self, label: str, value: str) -> gr.Textbox:
        return gr.Textbox(
            value, label=label, lines=6, max_lines=24, max_length=CODE_AT_MOST, elem_classes="pane"
        )

    def _wire(self) -> None:
        panes = [self.prefix, self.suffix]
        knobs = [self.files, self.path, self.tokens, self.temperature]
        shown = [self.state, self.filled, self.go, self.halt, self.keep]
        self.go.click(self.on_fill, [*panes, *knobs], shown, **FREE)
        self.halt.click(self.on_stop, queue=False, **QUIET)
        self.path.change(self.on_path, self.path, self.filled, queue=False, **QUIET)
        self.keep.click(
            self.on_keep, [self.prefix, self.filled], [self.prefix, self.filled, self.keep], **QUIET
        )

    async def on_fill(
        self,
        request: gr.Request,
        prefix: str,
        suffix: str,
        paths: list[str] | None,
        path: str,
        max_tokens: int,
        temperature: float,
    ) -> AsyncIterator[tuple]:
        """Write what belongs between the panes, as it comes."""
        if not (prefix + suffix).strip():
            yield (status.failed("Write some code first."), *(gr.skip(),) * 4)
            return
        files, wrong = await asyncio.to_thread(read_files, paths or [])
        sampling = Sampling(temperature=float(temperature))

        def fill(engine: Any) -> Iterable[Any]:
            room = engine.context_length - int(max_tokens) - MARGIN
            room -= len(engine.encode(prefix)) + len(engine.encode(suffix))
            kept, left_out = fitting(files, room, lambda text: len(engine.encode(text)))
            if left_out:
                wrong.append(f"No room in the context for {', '.join(left_out)}.")
            return engine.stream_completion(
                prefix, suffix, sampling=sampling, max_tokens=int(max_tokens), **around(kept, path)
            )

        owner, answer = tab(request), Answer()
        self.host.replies.cancel(owner)
        job = self.host.stream(owner, fill)
        yield *self._show(job, answer, wrong), *busy(True)
        while not job.finished:
            await asyncio.sleep(REFRESH_S)
            if answer.take(job) or not job.started:
                yield *self._show(job, answer, wrong), *busy(True)
        answer.take(job)
        yield *self._show(job, answer, wrong), *busy(False, bool(answer.text))

    def on_stop(self, request: gr.Request) -> None:
        """Stop; what was written stays."""
        self.host.replies.cancel(tab(request))

    def on_model(self, known: ModelFacts) -> list[Any]:
        """Updates of `follows`: nothing here depends on the model."""
        return []

    def on_close(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.on_stop(request)

    def on_keep(self, prefix: str, filled: str) -> tuple:
        """Take what was filled in as part of the code before the gap."""
        return prefix + filled, "", gr.Button(interactive=False)

    def on_path(self, path: str) -> Any:
        """Colour the code as the file's name says."""
        return gr.Code(language=LANGUAGES.get(PurePath(path).suffix.lower()))  # type: ignore[arg-type]

    def _show(self, job: Job, answer: Answer, wrong: Iterable[str]) -> tuple[str, str]:
        notes = "".join(map(status.failed, wrong))
        return notes + state_html(self.host, job, answer), answer.text


def around(files: Iterable[SourceFile], path: str) -> dict[str, Any]:
    """Options of the engine: other files, and this one's name, which matters only beside them."""
    pairs = [(file.path, file.text) for file in files]
    return {"files": pairs, "path": path.strip() or "main.py"} if pairs else {}


def tab(request: gr.Request) -> str:
    """What names a tab's completions among the host's jobs."""
    return f"code {request.session_hash}"


def busy(filling: bool, done: bool = False) -> tuple:
    """Fill in or Stop; Keep where there is something to keep."""
    return (
        gr.Button(visible=not filling),
        gr.Button(visible=filling),
        gr.Button(interactive=done),
    )


def state_html(host: Host, job: Job, answer: Answer) -> str:
    """How far the code is and what it took."""
    if job.error:
        return status.failed(job.error)
    parts = status.costs(answer.usage) if answer.usage is not None else []
    if job.finished:
        return status.said(" · ".join(["Stopped" if job.cancelled else "Done", *parts]))
    ahead = host.replies.ahead(job)
    waiting = ahead and not job.started
    return status.working(f"Waiting: {ahead} ahead" if waiting else "Writing", 0, 0)
