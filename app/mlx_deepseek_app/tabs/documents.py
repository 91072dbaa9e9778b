"""The documents page: PDFs and pictures in, Markdown, boxes and annotated pages out."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from mlx_deepseek.documents.pages import SUFFIXES
from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.picture_tasks import FIND, MARKDOWN, READING, prompt
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs import documents_job
from mlx_deepseek_app.tabs.documents_html import (
    WRITTEN,
    label_html,
    page_text,
    picture_html,
    state_html,
    strip_html,
)
from mlx_deepseek_app.tabs.documents_job import DocumentJob
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE, QUIET

REFRESH_S = 0.25
FILES_AT_MOST = 20
OWN_MODE = "Model default"
RENDERED = "Rendered"
FILES = {".md": "Markdown", ".json": "JSON", ".pdf": "annotated PDF", ".zip": "all with figures"}
# gradio looks in the script for the names of events, quoted
STRIP_SCRIPT = "shell.strip(element, watch, { turn: (data) => trigger('turn', data) });"
EMPTY = '<p class="none">Pages appear here while they are read.</p>'


class DocumentsTab(JobTab):
    """Components and handlers of the page; each tab of the browser has one job."""

    name = "documents"
    title = "Documents"
    about = "PDFs and photographs of pages become Markdown, page by page, tables and figures too."

    def __init__(self, service: ModelService, store: Store) -> None:
        super().__init__(service, store)
        self._jobs: dict[str, DocumentJob] = {}
        with self.frame():
            with self.asking():
                self.files = self.upload("PDFs and pictures: drop, paste or choose", SUFFIXES)
                with self.choosing():
                    names = [name for name, _ in READING]
                    self.task = gr.Dropdown(names, value=MARKDOWN[0], label="Read as")
                    self.phrase = gr.Textbox(label="Phrase to find", visible=False, max_length=500)
                    self.mode = gr.Dropdown(
                        [OWN_MODE], value=OWN_MODE, label="Pages cut", visible=False
                    )
                with self.choosing():
                    self.buttons("Read")
            with gr.Row(elem_id="documents-pager", elem_classes="see-pager"):
                self.before = gr.Button("‹", elem_id="documents-before", size="sm")
                self.label = gr.HTML("", elem_id="documents-label")
                self.after = gr.Button("›", elem_id="documents-after", size="sm")
                self.view = gr.Radio(
                    [RENDERED, WRITTEN], value=RENDERED, container=False, show_label=False,
                    label="How the page's text is shown", elem_id="documents-view"
                )  # fmt: skip
                self.takes = {
                    kind: gr.DownloadButton(f"Get {name}", visible=False, size="sm")
                    for kind, name in FILES.items()
                }
            with gr.Row(elem_classes="see-pages"):
                self.strip = gr.HTML("", elem_id="documents-strip", js_on_load=STRIP_SCRIPT)
                self.picture_and_text(EMPTY)
        self.shown: list[Any] = [
            self.state,
            self.label,
            self.strip,
            self.picture,
            self.text,
            *self.takes.values(),
        ]
        self.follows = [self.mode]
        self._wire()

    def _wire(self) -> None:
        asked = [self.files, self.task, self.phrase, self.mode, self.view]
        self.go.click(self.on_read, asked, [*self.shown, self.go, self.halt], **FREE)
        self.task.change(self.on_task, self.task, self.phrase, queue=False, **QUIET)
        self.before.click(self.on_before, self.view, self.shown, queue=False, **QUIET)
        self.after.click(self.on_after, self.view, self.shown, queue=False, **QUIET)
        self.strip.turn(self.on_turn, self.view, self.shown, queue=False, **QUIET)
        self.view.change(self.on_view, self.view, self.shown, queue=False, **QUIET)

    async def on_read(
        self,
        request: gr.Request,
        files: list[str] | None,
        task: str,
        phrase: str,
        mode: str,
        view: str,
    ) -> AsyncIterator[Updates]:
        """Read the files, showing pages while they are written."""
        files, asked = files or [], prompt(READING, task, phrase)
        wrong = unfit(files, asked)
        if wrong:
            yield {self.state: status.failed(wrong)}
            return
        self._end(request)
        self.working_on(request, files)
        owner = self.owner(request)
        reading = self._jobs[owner] = documents_job.new_reading()
        chosen = None if mode == OWN_MODE else mode
        reading.job = self.service.stream(
            owner, lambda engine: documents_job.read(engine, files, asked, chosen, reading)
        )
        async for buttons in self.follow(reading.job, REFRESH_S, reading.take):
            if self._jobs.get(owner) is not reading:
                return  # the tab reads something else
            yield self._show(reading, view) | buttons

    def on_task(self, task: str) -> Any:
        """Only finding needs a phrase."""
        return gr.Textbox(visible=task == FIND)

    def on_before(self, request: gr.Request, view: str) -> Updates:
        """The page before."""
        return self._turned(request, view, -1)

    def on_after(self, request: gr.Request, view: str) -> Updates:
        """The next page."""
        return self._turned(request, view, 1)

    def on_turn(self, request: gr.Request, event: gr.EventData, view: str) -> Updates:
        """A page of the strip was chosen."""
        reading = self._jobs.get(self.owner(request))
        if reading is not None:
            reading.at = int(event.page)
        return self._turned(request, view, 0)

    def on_view(self, request: gr.Request, view: str) -> Updates:
        """The same page, shown differently."""
        return self._turned(request, view, 0)

    def on_close(self, request: gr.Request) -> None:
        """The tab was closed: end its work and remove its files."""
        super().on_close(request)
        self._end(request)

    def _end(self, request: gr.Request) -> None:
        self.on_stop(request)
        reading = self._jobs.pop(self.owner(request), None)
        if reading is not None:
            reading.clear()

    def on_model(self, known: ModelFacts) -> Updates:
        """The modes that this model has."""
        modes = [OWN_MODE, *known.modes]
        return {self.mode: gr.Dropdown(modes, value=OWN_MODE, visible=len(modes) > 1)}

    def _turned(self, request: gr.Request, view: str, step: int) -> Updates:
        reading = self._jobs.get(self.owner(request))
        if reading is None:
            return {self.state: gr.skip()}
        if step:
            reading.at = min(max(reading.place + step, 0), max(len(reading.pages) - 1, 0))
        return self._show(reading, view)

    def _show(self, reading: DocumentJob, view: str) -> Updates:
        updates: Updates = {self.state: state_html(reading)}
        pages = reading.ordered
        if not pages:
            files: list[Path] = []
            updates |= {self.label: "", self.strip: "", self.picture: EMPTY, self.text: ""}
        else:
            page = pages[reading.place]
            files = reading.files(page.name)
            updates |= {
                self.label: label_html(pages, page),
                self.picture: picture_html(page),
                self.text: page_text(page, view),
            }
        now = (reading.place, *((page.key, page.finish) for page in pages))
        if pages and now != reading.strip:  # it has all pages: it travels when it is another
            reading.strip = now
            updates[self.strip] = strip_html(pages, reading.place)
        for kind, button in self.takes.items():
            file = next((file for file in files if file.suffix == kind), None)
            updates[button] = gr.DownloadButton(value=file and str(file), visible=bool(file))
        return updates


def unfit(files: list[str], asked: str) -> str:
    """What is wrong with what the user asks; "" if nothing."""
    if not files:
        return "Choose a PDF or a picture first."
    if len(files) > FILES_AT_MOST:
        return f"{len(files)} files at once. Choose at most {FILES_AT_MOST}."
    return "" if asked else "Write the phrase to find first."
