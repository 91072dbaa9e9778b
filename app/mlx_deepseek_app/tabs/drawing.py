"""The drawing page: pictures from words, seen while they are drawn."""

import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from mlx_deepseek.image_generation import DrawProgress, DrawSettings, Picture
from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.queue import Job
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.drawings import FOLDER, Drawings
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs.gallery import Gallery
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE, QUIET

REFRESH_S = 0.2
PICTURES_AT_MOST = 8
PREVIEWS = 12  # while a picture is drawn
SEEDS = 2**31
EXAMPLES = (
    "A red bicycle by the sea, watercolour",
    "A lighthouse in a storm, oil painting",
    "A fox reading a book under a tree",
)
NO_PROMPT, NO_SEED = "Write what to draw first.", "A seed is a whole number from 0."


class DrawingTab(JobTab):
    """Components and handlers of the page."""

    name = "drawing"
    title = "Draw"
    about = "Pictures from words, seen while they are drawn."

    def __init__(self, service: ModelService, store: Store) -> None:
        super().__init__(service, store)
        folder = None if store.path is None else store.path.parent / FOLDER
        self.drawings = Drawings(folder)
        with self.frame():
            with self.asking():
                self.prompt = gr.Textbox(
                    label="What to draw",
                    placeholder="A red bicycle by the sea",
                    lines=3,
                    max_length=2000,
                    elem_id="drawing-prompt",
                )
                with self.choosing():
                    self.count = gr.Slider(1, PICTURES_AT_MOST, 1, step=1, label="Pictures")
                    self.best_of = gr.Slider(
                        1, 2 * PICTURES_AT_MOST, 1, step=1, label="Draw so many, keep the best"
                    )
                    self.guidance = gr.Slider(0, 20, 5, step=0.5, label="Guidance")
                with self.choosing():
                    self.temperature = gr.Slider(0, 2, 1, step=0.05, label="Temperature")
                    self.steps = gr.Slider(1, 100, 30, step=1, label="Steps", visible=False)
                    self.seed = gr.Textbox(
                        label="Seed (empty: another one each time)",
                        max_length=16,
                        elem_id="drawing-seed",
                    )
                    self.dice = gr.Button("Another seed", size="sm", elem_id="drawing-dice")
                    self.buttons("Draw")
            self.examples(EXAMPLES, self.prompt)
            self.gallery = gr.Gallery(
                label="Pictures",
                show_label=False,
                elem_id="drawing-gallery",
                columns=4,
                object_fit="contain",
            )
            self.kept = Gallery(self.drawings, store.owner)
        settings = [self.guidance, self.temperature, self.steps]
        self.follows = [*settings, self.kept.ask]
        asked = [self.prompt, self.count, self.best_of, self.seed, *settings]
        shown = [self.state, self.gallery, self.go, self.halt, *self.kept.listed]
        self.dice.click(another_seed, None, self.seed, queue=False, **QUIET)
        for trigger in (self.go.click, self.prompt.submit):
            trigger(self.on_draw, asked, shown, **FREE)
        self.kept.copy.click(self.on_copy, self.kept.chosen, asked, **QUIET)
        for button, take in ((self.kept.again, self.on_copy), (self.kept.vary, self.on_vary)):
            taken = button.click(take, self.kept.chosen, asked, **QUIET)
            taken.then(self.on_draw, asked, shown, **FREE)

    def wire(self, page: gr.Blocks) -> None:
        """Show the gallery."""
        page.load(self.kept.on_search, None, self.kept.listed, **FREE)

    async def on_draw(
        self,
        request: gr.Request,
        prompt: str,
        count: int,
        best_of: int,
        seed: str,
        guidance: float,
        temperature: float,
        steps: int,
    ) -> AsyncIterator[Updates]:
        """Draw, showing pictures in the making and when they are done."""
        seed = seed.strip()
        wrong = "" if prompt.strip() else NO_PROMPT
        if wrong or not (seed.isdecimal() or not seed):
            yield {self.state: status.failed(wrong or NO_SEED)}
            return
        self.on_stop(request)

        def draw(engine: Any) -> Any:
            has = engine.draw_defaults.chosen if engine.draw_defaults else {}
            chosen = {"guidance": guidance, "temperature": temperature, "steps": steps}
            total = has.get("steps", PREVIEWS * PREVIEWS)
            return engine.draw(
                prompt,
                int(count),
                seed=int(seed) if seed else None,
                best_of=int(best_of) if best_of > count else None,
                preview_every=max(1, total // PREVIEWS),
                **{name: value for name, value in chosen.items() if name in has},
            )

        drawing = Drawing(job := self.service.stream(self.owner(request), draw))
        async for buttons in self.follow(job, REFRESH_S, drawing.take):
            yield {
                self.state: self.state_html(job, "Drawing", drawing.parts()),
                **({self.gallery: drawing.gallery()} if drawing.changed() else {}),
                **buttons,
            }
        yield self.keep(request, drawing.last.pictures)

    def keep(self, request: gr.Request, pictures: tuple[Picture, ...]) -> Updates:
        """Put pictures into the gallery, and show it."""
        try:
            for picture in pictures:
                self.drawings.add(self.kept.owner(request), picture)
        except StoreError as error:
            return {self.state: status.failed(str(error))}
        return self.kept.on_search(request) if pictures else {}

    def on_copy(self, request: gr.Request, key: str) -> Updates:
        """Fill in what made a picture of the gallery."""
        drawing = self.kept.find(request, key)
        if drawing is None:
            return {self.prompt: gr.skip()}
        origin = drawing.origin
        values = {
            self.guidance: origin.guidance,
            self.temperature: origin.temperature,
            self.steps: origin.steps,
        }
        return {
            self.prompt: origin.prompt,
            self.seed: str(origin.seed),
            self.count: 1,
            self.best_of: 1,
            **{part: value for part, value in values.items() if value is not None},
        }

    def on_vary(self, request: gr.Request, key: str) -> Updates:
        """The same with another seed."""
        return {**self.on_copy(request, key), self.seed: another_seed()}

    def on_close(self, request: gr.Request) -> None:
        """The browser's tab was closed."""
        super().on_close(request)
        self.drawings.left(self.kept.owner(request))

    def on_model(self, known: ModelFacts) -> Updates:
        """The authors' values for what this model has."""
        drawing = known.drawing or DrawSettings()
        return {
            self.guidance: gr.Slider(value=drawing.guidance or 0.0),
            self.temperature: gr.Slider(
                value=drawing.temperature or 0.0, visible=drawing.temperature is not None
            ),
            self.steps: gr.Slider(value=drawing.steps or 1, visible=drawing.steps is not None),
            self.kept.ask: gr.Button(visible=known.sees),
        }


class Drawing:
    """What a job has drawn so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.last = DrawProgress(0, 0)
        self.previews: tuple[Any, ...] = ()
        self._shown: tuple[Any, ...] = ()
        self._saved: dict[int, str] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="drawing-")  # the page copies from it

    def take(self) -> bool:
        """Look at what is new; False if that is nothing."""
        news = [progress for _, progress in self.job.take()]
        for progress in news:
            if len(progress.pictures) != len(self.last.pictures):
                self.previews = ()
            self.last = progress
            self.previews = progress.previews or self.previews
        return bool(news)

    def parts(self) -> list[str]:
        """How far it is, in words."""
        if not self.last.total:
            return []
        return [f"{100 * self.last.done // self.last.total} %"]

    def changed(self) -> bool:
        """Whether there is another gallery than at the last call."""
        now = (self.last.pictures, self.previews)
        before, self._shown = self._shown, now
        return any(now) and now != before

    def gallery(self) -> list[tuple[Any, str]]:
        """Pictures with their seeds, then those in the making."""
        done = [(self.file(picture), caption(picture)) for picture in self.last.pictures]
        if self.last.done == self.last.total:
            return done
        return [*done, *((preview, "") for preview in self.previews)]

    def file(self, picture: Picture) -> str:
        """A PNG that says what made the picture, to look at and to take along."""
        seed = picture.origin.seed
        if seed not in self._saved:
            path = Path(self._folder.name) / f"seed-{seed}.png"
            picture.save(path)
            self._saved[seed] = str(path)
        return self._saved[seed]


def caption(picture: Picture) -> str:
    """A picture's seed, and its score if it has one."""
    score = "" if picture.score is None else f" · {picture.score:.0%}"
    return f"{picture.origin.seed}{score}"


def another_seed() -> str:
    """A random seed."""
    return str(secrets.randbelow(SEEDS))
