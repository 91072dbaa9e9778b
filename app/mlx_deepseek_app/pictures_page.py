"""The pictures page: ask about pictures, see where things are."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.reading import Block
from mlx_deepseek.reading.answer import parse, spoken
from mlx_deepseek.vision.pictures import open_picture
from mlx_deepseek_app import status
from mlx_deepseek_app.answer import Answer
from mlx_deepseek_app.events import FREE, LATEX, QUIET
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.lane import Job
from mlx_deepseek_app.model import ModelFacts, facts
from mlx_deepseek_app.seen import Shown, shown, with_boxes
from mlx_deepseek_app.tables import page_markdown
from mlx_deepseek_app.tasks import ASK, QUESTION, prompt, tasks

REFRESH_S = 0.15
PICTURES_AT_MOST = 8
MAX_TOKENS = 1024
KINDS = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif"]
EMPTY = '<p class="none">The pictures appear here.</p>'

Views = dict[str, Shown]


class PicturesPage:
    """Components and handlers of the page."""

    def __init__(self, host: Host) -> None:
        self.host = host
        with gr.Column(elem_id="pictures", elem_classes="see"):
            with gr.Row(elem_classes="see-ask"):
                self.files = gr.File(
                    label="Pictures: drop, paste or choose",
                    file_count="multiple",
                    file_types=KINDS,
                    elem_id="pictures-files",
                    height=130,
                )
                with gr.Column(elem_classes="see-choose"):
                    self.task = gr.Dropdown([QUESTION], value=QUESTION, label="Task")
                    self.words = gr.Textbox(
                        label="Question or phrase",
                        placeholder="What do you see?",
                        elem_id="pictures-words",
                        max_length=4000,
                    )
                with gr.Column(elem_classes="see-choose"):
                    self.go = gr.Button("Ask", variant="primary", elem_id="pictures-go")
                    self.halt = gr.Button("Stop", elem_id="pictures-stop", visible=False)
            self.state = gr.HTML("", elem_id="pictures-state")
            with gr.Row(elem_classes="see-view"):
                self.picture = gr.HTML(EMPTY, elem_id="pictures-picture")
                self.text = gr.Markdown(
                    elem_id="pictures-text", latex_delimiters=LATEX, sanitize_html=True
                )
        self.follows = [self.task]
        self._views = gr.State({})
        self._wire()

    def _wire(self) -> None:
        self.files.change(
            self.on_files, self.files, [self._views, self.picture, self.state, self.text], **QUIET
        )
        shown = [self.state, self.picture, self.text, self.go, self.halt]
        asked = [self._views, self.task, self.words]
        for trigger in (self.go.click, self.words.submit):
            trigger(self.on_ask, asked, shown, **FREE)
        self.halt.click(self.on_stop, queue=False, **QUIET)

    def on_files(self, files: list[str] | None) -> tuple[Views, str, str, str]:
        """Show pictures as soon as they are there; those that cannot be read are named."""
        files = files or []
        views: Views = {}
        wrong = []
        if len(files) > PICTURES_AT_MOST:
            wrong.append(f"{len(files)} pictures at once. Only {PICTURES_AT_MOST} are looked at.")
        for file in files[:PICTURES_AT_MOST]:
            try:
                views[file] = shown(open_picture(file))
            except DeepSeekError as error:
                wrong.append(str(error).replace(file, Path(file).name))
        return views, gallery(views, ()), "".join(map(status.failed, wrong)), ""

    async def on_ask(
        self, request: gr.Request, views: Views, task: str, words: str
    ) -> AsyncIterator[tuple]:
        """Ask the model, showing the answer and its boxes while they are written."""
        asked = prompt(tasks(facts(self.host.engine).prompt_format), task, words)
        if not views or not asked:
            wrong = "Choose a picture first." if not views else "Write a question or phrase first."
            yield (status.failed(wrong), *(gr.skip(),) * 4)
            return
        owner, files = tab(request), list(views)
        self.host.replies.cancel(owner)
        messages = [{"role": "user", "content": asked}]
        job = self.host.stream(
            owner, lambda engine: engine.stream(messages, images=files, max_tokens=MAX_TOKENS)
        )
        answer = Answer()
        yield *self._show(job, answer, views), *busy(True)
        while not job.finished:
            await asyncio.sleep(REFRESH_S)
            if answer.take(job) or not job.started:
                yield *self._show(job, answer, views), *busy(True)
        answer.take(job)
        yield *self._show(job, answer, views), *busy(False)

    def on_stop(self, request: gr.Request) -> None:
        """Stop the answer; what was written stays."""
        self.host.replies.cancel(tab(request))

    def on_close(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.host.replies.cancel(tab(request))

    def on_model(self, known: ModelFacts) -> list[Any]:
        """Updates of `follows`: what this model can be asked."""
        names = [name for name, _ in tasks(known.prompt_format)]
        chosen = ASK[0] if ASK[0] in names else names[0]
        return [gr.Dropdown(names, value=chosen)]

    def _show(self, job: Job, answer: Answer, views: Views) -> tuple[str, str, str]:
        size = next(iter(views.values())).size
        blocks = parse(answer.text, size, done=job.finished)
        return (
            state_html(self.host, job, answer, views, blocks),
            gallery(views, blocks),
            page_markdown(spoken(answer.text, done=job.finished)),
        )


def tab(request: gr.Request) -> str:
    """What names a tab's questions among the host's jobs."""
    return f"pictures {request.session_hash}"


def busy(asking: bool) -> tuple:
    """Ask or Stop."""
    return gr.Button(visible=not asking), gr.Button(visible=asking)


def gallery(views: Views, blocks: Iterable[Block]) -> str:
    """All pictures; boxes can be drawn only where there is one, since they name none."""
    if not views:
        return EMPTY
    found = tuple(blocks) if len(views) == 1 else ()
    return "".join(with_boxes(view, found, Path(file).name) for file, view in views.items())


def state_html(
    host: Host, job: Job, answer: Answer, views: Views, blocks: tuple[Block, ...]
) -> str:
    """How far the answer is and what it took."""
    if job.error:
        return status.failed(job.error)
    usage, parts = answer.usage, []
    if usage is not None:
        parts.append(f"{usage.prompt_tokens:,} tokens of pictures and words")
        if usage.cached_tokens:
            parts.append(f"{usage.cached_tokens:,} of them kept from before")
        if usage.generation_tps:
            parts.append(f"{usage.generation_tps:.0f} tokens/s")
    if len(views) > 1 and any(block.boxes for block in blocks):
        parts.append("boxes are drawn when there is one picture")
    if job.finished:
        return status.said(" · ".join(["Stopped" if job.cancelled else "Done", *parts]))
    ahead = host.replies.ahead(job)
    words = f"Waiting: {ahead} ahead" if ahead and not job.started else "Looking"
    return status.working(" · ".join([words, *parts]), 0, 0)
