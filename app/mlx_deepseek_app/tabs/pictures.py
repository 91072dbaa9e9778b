"""The pictures page: ask about pictures, see where things are."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from mlx_deepseek.documents.blocks import Block, parse, spoken
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.vision.image_file import SUFFIXES, open_picture
from mlx_deepseek_app.jobs.model_info import ModelFacts, facts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.picture_tasks import QUESTION, prompt
from mlx_deepseek_app.jobs.queue import Answer
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE, QUIET
from mlx_deepseek_app.widgets.image_view import Preview, preview, with_boxes
from mlx_deepseek_app.widgets.page_text import page_html

REFRESH_S = 0.15
PICTURES_AT_MOST = 8
MAX_TOKENS = 1024
EMPTY = '<p class="none">Your pictures appear here, with boxes around what was found.</p>'

Views = dict[str, Preview]


class PicturesTab(JobTab):
    """Components and handlers of the page."""

    name = "pictures"
    title = "Pictures"
    about = "Ask about pictures, and see where the things are that the model names."

    def __init__(self, service: ModelService, store: Store) -> None:
        super().__init__(service, store)
        with self.frame():
            with self.asking():
                self.files = self.upload("Pictures: drop, paste or choose", SUFFIXES)
                with self.choosing():
                    self.task = gr.Dropdown([QUESTION], value=QUESTION, label="Task")
                    self.words = gr.Textbox(
                        label="Question or phrase",
                        placeholder="What do you see?",
                        elem_id="pictures-words",
                        max_length=4000,
                    )
                with self.choosing():
                    self.buttons("Ask")
            self.picture_and_text(EMPTY)
        self.follows = [self.task]
        self._views = gr.State({})
        self.files.change(
            self.on_files, self.files, [self._views, self.picture, self.state, self.text], **QUIET
        )
        shown = [self.state, self.picture, self.text, self.go, self.halt]
        asked = [self._views, self.task, self.words]
        for trigger in (self.go.click, self.words.submit):
            trigger(self.on_ask, asked, shown, **FREE)

    def on_files(self, files: list[str] | None) -> tuple[Views, str, str, str]:
        """Show pictures as soon as they are there; those that cannot be read are named."""
        files = files or []
        views: Views = {}
        wrong = []
        if len(files) > PICTURES_AT_MOST:
            wrong.append(f"{len(files)} pictures at once. Only {PICTURES_AT_MOST} are looked at.")
        for file in files[:PICTURES_AT_MOST]:
            try:
                views[file] = preview(open_picture(file))
            except DeepSeekError as error:
                wrong.append(str(error).replace(file, Path(file).name))
        return views, gallery(views, ()), "".join(map(status.failed, wrong)), ""

    async def on_ask(
        self, request: gr.Request, views: Views, task: str, words: str
    ) -> AsyncIterator[Updates]:
        """Ask the model, showing the answer and its boxes while they are written."""
        asked = prompt(facts(self.service.engine).tasks, task, words)
        if not views or not asked:
            wrong = "Choose a picture first." if not views else "Write a question or phrase first."
            yield {self.state: status.failed(wrong)}
            return
        self.on_stop(request)
        self.working_on(request, list(views))
        messages = [{"role": "user", "content": asked}]
        options: dict[str, Any] = {"images": list(views), "max_tokens": MAX_TOKENS}
        answer = Answer(
            job := self.service.stream(
                self.owner(request), lambda engine: engine.stream(messages, **options)
            )
        )
        size = next(iter(views.values())).size
        async for buttons in self.follow(job, REFRESH_S, answer.take):
            blocks = parse(answer.text, size, done=job.finished)
            yield {
                self.state: self.state_html(job, "Looking", costs(answer.usage, views, blocks)),
                self.picture: gallery(views, blocks),
                self.text: page_html(spoken(answer.text, done=job.finished)),
                **buttons,
            }

    def on_model(self, known: ModelFacts) -> Updates:
        """What this model can be asked."""
        names = [name for name, _ in known.tasks]
        chosen = QUESTION if QUESTION in names else names[0]
        return {self.task: gr.Dropdown(names, value=chosen)}


def gallery(views: Views, blocks: Iterable[Block]) -> str:
    """All pictures; boxes can be drawn only where there is one, since they name none."""
    if not views:
        return EMPTY
    found = tuple(blocks) if len(views) == 1 else ()
    return "".join(with_boxes(view, found, Path(file).name) for file, view in views.items())


def costs(usage: Any, views: Views, blocks: Iterable[Block]) -> list[str]:
    """What an answer took, and why no boxes are drawn."""
    parts = []
    if usage is not None:
        parts.append(f"{usage.prompt_tokens:,} tokens of pictures and words")
        if usage.cached_tokens:
            parts.append(f"{usage.cached_tokens:,} of them kept from before")
        if usage.generation_tps:
            parts.append(f"{usage.generation_tps:.0f} tokens/s")
    if len(views) > 1 and any(block.boxes for block in blocks):
        parts.append("boxes are drawn when there is one picture")
    return parts
