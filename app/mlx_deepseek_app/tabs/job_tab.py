"""What the tabs have in common: what is asked, the buttons, how far a job is, what comes of it."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gradio as gr

from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.queue import Job, watch
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.storage.uploads import Uploads
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.column_html import chips_html, head_html
from mlx_deepseek_app.widgets.event_options import QUIET
from mlx_deepseek_app.widgets.markdown import LATEX

Updates = dict[Any, Any]
# gradio looks in the script for the names of events, quoted
CHOICES_SCRIPT = "shell.chips(element, { choose: (data) => trigger('choose', data) });"


def chosen(event: gr.EventData) -> str:
    """The text of the example that was pressed."""
    return str(event.text)


class JobTab:
    """Each tab of the browser has one job at a time here, which ends with it."""

    name = ""
    title = ""
    about = ""

    def __init__(self, service: ModelService, store: Store) -> None:
        self.service, self.store = service, store
        self.follows: list[Any] = []  # what `on_model` updates
        self.uploads = Uploads()
        self.go: gr.Button
        self.halt: gr.Button
        self.state: gr.HTML
        self.picture: gr.HTML
        self.text: gr.Markdown

    def wire(self, page: gr.Blocks) -> None:
        """Show what was kept when the page is opened; most keep nothing."""

    @contextmanager
    def frame(self) -> Iterator[None]:
        """The page with its name and what it is for, to be filled."""
        with gr.Column(elem_id=self.name, elem_classes="see"):
            gr.HTML(head_html(self.title, self.about), elem_classes="page-head")
            yield

    def examples(self, texts: Sequence[str], field: gr.Textbox) -> Any:
        """Make a row of things to begin with; a press fills `field`, and then the event fires."""
        chips = gr.HTML(chips_html(texts), elem_classes="chips", js_on_load=CHOICES_SCRIPT)
        return chips.choose(chosen, None, field, queue=False, **QUIET)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """The row of what the user asks, and the line below it that says how far a job is."""
        with gr.Row(elem_classes="see-ask"):
            yield
        self.state = gr.HTML("", elem_id=f"{self.name}-state")

    def choosing(self) -> gr.Column:
        """A narrow column in that row."""
        return gr.Column(elem_classes="see-choose")

    def upload(self, label: str, kinds: Sequence[str] | None = None) -> gr.File:
        """A place to drop files of some kinds; those that are replaced go."""
        files = gr.File(
            label=label,
            file_count="multiple",
            file_types=None if kinds is None else list(kinds),
            elem_id=f"{self.name}-files",
            height=130,
        )
        files.change(self.on_upload, files, None, queue=False, **QUIET)
        return files

    def picture_and_text(self, empty: str) -> None:
        """Make `picture`, which is `empty` at first, and beside it `text`."""
        with gr.Row(elem_classes="see-view"):
            self.picture = gr.HTML(empty, elem_id=f"{self.name}-picture")
            self.text = gr.Markdown(
                elem_id=f"{self.name}-text", latex_delimiters=LATEX, sanitize_html=True
            )

    def buttons(self, word: str) -> None:
        """Make the button that starts, and in its place the one that stops."""
        self.go = gr.Button(word, variant="primary", elem_id=f"{self.name}-go")
        self.halt = gr.Button("Stop", elem_id=f"{self.name}-stop", visible=False)
        self.halt.click(self.on_stop, queue=False, **QUIET)

    def owner(self, request: gr.Request) -> str:
        """What names a browser tab's jobs of this page among the service's."""
        return f"{self.name} {request.session_hash}"

    def running(self, is_running: bool) -> Updates:
        """Updates of the buttons."""
        return {
            self.go: gr.Button(visible=not is_running),
            self.halt: gr.Button(visible=is_running),
        }

    async def follow(
        self, job: Job, every_s: float, news: Callable[[], object] | None = None
    ) -> AsyncIterator[Updates]:
        """`watch`, with updates of the buttons where they change."""
        first = True
        async for _ in watch(job, every_s, news):
            yield self.running(not job.finished) if first or job.finished else {}
            first = False

    def on_stop(self, request: gr.Request) -> None:
        """Stop; what was made stays."""
        self.service.replies.cancel(self.owner(request))
        self.service.loads.cancel(self.owner(request))

    def on_upload(self, request: gr.Request, files: list[str] | None) -> None:
        """Other files were chosen."""
        self.uploads.need(self.owner(request), files or ())

    def working_on(self, request: gr.Request, files: Sequence[str] = ()) -> None:
        """Keep files that a job reads although others are chosen meanwhile."""
        self.uploads.need(f"{self.owner(request)}'s job", files)

    def on_close(self, request: gr.Request) -> None:
        """The browser's tab was closed."""
        self.on_stop(request)
        self.on_upload(request, None)
        self.working_on(request)

    def on_model(self, known: ModelFacts) -> Updates:
        """Updates for another model in memory."""
        return {}

    def state_html(self, job: Job, doing: str, parts: list[str]) -> str:
        """How far a job is and what it took."""
        if job.error:
            return status.failed(job.error)
        if job.finished:
            return status.said(" · ".join(["Stopped" if job.cancelled else "Done", *parts]))
        return status.working(" · ".join([doing, *parts]))
