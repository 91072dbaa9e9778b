"""The documents page: PDFs and pictures in, Markdown, boxes and annotated pages out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from mlx_deepseek_app import desk, status
from mlx_deepseek_app.desk import Reading
from mlx_deepseek_app.events import FREE, LATEX, QUIET
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.model import ModelFacts
from mlx_deepseek_app.sheets_html import WRITTEN, label_html, page_html, page_text, state_html
from mlx_deepseek_app.tasks import FIND, MARKDOWN, READING, prompt

REFRESH_S = 0.25
FILES_AT_MOST = 20
KINDS = [".pdf", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif"]
OWN_MODE = "as the model does"
RENDERED = "Rendered"
EMPTY = '<p class="none">Pages appear here while they are read.</p>'


class DocumentsPage:
    """Components and handlers of the page; one desk for each tab of the browser."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._desks: dict[str, Reading] = {}
        with gr.Column(elem_id="documents", elem_classes="see"):
            with gr.Row(elem_classes="see-ask"):
                self.files = gr.File(
                    label="PDFs and pictures: drop, paste or choose",
                    file_count="multiple",
                    file_types=KINDS,
                    elem_id="documents-files",
                    height=130,
                )
                with gr.Column(elem_classes="see-choose"):
                    names = [name for name, _ in READING]
                    self.task = gr.Dropdown(names, value=MARKDOWN[0], label="Read as")
                    self.phrase = gr.Textbox(label="Phrase to find", visible=False, max_length=500)
                    self.mode = gr.Dropdown(
                        [OWN_MODE], value=OWN_MODE, label="Pages cut", visible=False
                    )
                with gr.Column(elem_classes="see-choose"):
                    self.go = gr.Button("Read", variant="primary", elem_id="documents-go")
                    self.halt = gr.Button("Stop", elem_id="documents-stop", visible=False)
            self.state = gr.HTML("", elem_id="documents-state")
            with gr.Row(elem_classes="see-pager"):
                self.before = gr.Button("‹", elem_id="documents-before", size="sm")
                self.label = gr.HTML("", elem_id="documents-label")
                self.after = gr.Button("›", elem_id="documents-after", size="sm")
                self.view = gr.Radio(
                    [RENDERED, WRITTEN], value=RENDERED, container=False, show_label=False,
                    label="How the page's text is shown", elem_id="documents-view",
                )  # fmt: skip
            with gr.Row(elem_classes="see-view"):
                self.picture = gr.HTML(EMPTY, elem_id="documents-picture")
                self.text = gr.Markdown(
                    elem_id="documents-text", latex_delimiters=LATEX, sanitize_html=True
                )
            with gr.Row(elem_classes="see-take"):
                self.takes = [
                    gr.DownloadButton(f"Get {name}", visible=False, size="sm")
                    for name in ("Markdown", "JSON", "annotated PDF", "all with figures")
                ]
        self.follows = [self.mode]
        self.shown: list[Any] = [self.state, self.label, self.picture, self.text, *self.takes]
        self._wire()

    def _wire(self) -> None:
        asked = [self.files, self.task, self.phrase, self.mode, self.view]
        self.go.click(self.on_read, asked, [*self.shown, self.go, self.halt], **FREE)
        self.halt.click(self.on_stop, queue=False, **QUIET)
        self.task.change(self.on_task, self.task, self.phrase, queue=False, **QUIET)
        self.before.click(self.on_before, self.view, self.shown, queue=False, **QUIET)
        self.after.click(self.on_after, self.view, self.shown, queue=False, **QUIET)
        self.view.change(self.on_view, self.view, self.shown, queue=False, **QUIET)

    async def on_read(
        self,
        request: gr.Request,
        files: list[str] | None,
        task: str,
        phrase: str,
        mode: str,
        view: str,
    ) -> AsyncIterator[tuple]:
        """Read the files, showing pages while they are written."""
        files, asked = files or [], prompt(READING, task, phrase)
        wrong = unfit(files, asked)
        if wrong:
            yield (status.failed(wrong), *(gr.skip(),) * (len(self.shown) + 1))
            return
        owner = tab(request)
        self.on_close(request)
        reading = self._desks[owner] = desk.new_reading()
        chosen = None if mode == OWN_MODE else mode
        reading.job = job = self.host.stream(
            owner, lambda engine: desk.read(engine, files, asked, chosen, reading), long=True
        )
        yield *self._show(reading, view), *busy(True)
        while not job.finished:
            await asyncio.sleep(REFRESH_S)
            if self._desks.get(owner) is not reading:
                return  # the tab reads something else
            if reading.take() or not job.started:
                yield *self._show(reading, view), *busy(True)
        reading.take()
        yield *self._show(reading, view), *busy(False)

    def on_stop(self, request: gr.Request) -> None:
        """Stop reading; the pages that are done are kept."""
        self.host.replies.cancel(tab(request))

    def on_task(self, task: str) -> Any:
        """Only finding needs a phrase."""
        return gr.Textbox(visible=task == FIND)

    def on_before(self, request: gr.Request, view: str) -> tuple:
        """The page before."""
        return self._turned(request, view, -1)

    def on_after(self, request: gr.Request, view: str) -> tuple:
        """The next page."""
        return self._turned(request, view, 1)

    def on_view(self, request: gr.Request, view: str) -> tuple:
        """The same page, shown differently."""
        return self._turned(request, view, 0)

    def on_close(self, request: gr.Request) -> None:
        """The tab was closed: end its work and remove its files."""
        reading = self._desks.pop(tab(request), None)
        if reading is not None:
            self.host.replies.cancel(tab(request))
            reading.clear()

    def on_model(self, known: ModelFacts) -> list[Any]:
        """Updates of `follows`: the modes that this model has."""
        return [gr.Dropdown([OWN_MODE, *known.modes], value=OWN_MODE, visible=bool(known.modes))]

    def _turned(self, request: gr.Request, view: str, step: int) -> tuple:
        reading = self._desks.get(tab(request))
        if reading is None:
            return (gr.skip(),) * len(self.shown)
        if step:
            reading.at = min(max(reading.place + step, 0), max(len(reading.sheets) - 1, 0))
        return self._show(reading, view)

    def _show(self, reading: Reading, view: str) -> tuple:
        sheets = reading.ordered
        if not sheets:
            return state_html(self.host, reading), "", EMPTY, "", *nothing_to_take(self.takes)
        sheet = sheets[reading.place]
        return (
            state_html(self.host, reading),
            label_html(sheets, sheet),
            page_html(sheet),
            page_text(sheet, view),
            *takes(reading.files(sheet.name), len(self.takes)),
        )


def unfit(files: list[str], asked: str) -> str:
    """What is wrong with what the user asks; "" if nothing."""
    if not files:
        return "Choose a PDF or a picture first."
    if len(files) > FILES_AT_MOST:
        return f"{len(files)} files at once. Choose at most {FILES_AT_MOST}."
    return "" if asked else "Write the phrase to find first."


def tab(request: gr.Request) -> str:
    """What names a tab's reading among the host's jobs."""
    return f"documents {request.session_hash}"


def busy(reading: bool) -> tuple:
    """Read or Stop."""
    return gr.Button(visible=not reading), gr.Button(visible=reading)


def nothing_to_take(buttons: list[Any]) -> tuple:
    """No files yet."""
    return (gr.DownloadButton(visible=False),) * len(buttons)


def takes(files: list[Path], count: int) -> tuple:
    """A button for each file; those of what there is not are hidden."""
    by_kind = {file.suffix: file for file in files}
    kinds = (".md", ".json", ".pdf", ".zip")[:count]
    return tuple(
        gr.DownloadButton(value=str(by_kind[kind]), visible=True)
        if kind in by_kind
        else gr.DownloadButton(visible=False)
        for kind in kinds
    )
