"""Compare: one prompt, two models or two ways of asking one, side by side."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from mlx_deepseek.sampling import Sampling
from mlx_deepseek_app import sources, status
from mlx_deepseek_app.answer import Answer
from mlx_deepseek_app.events import FREE, LATEX, QUIET
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.text import model_markdown

REFRESH_S = 0.15
SEED = 0  # the same for both
MAX_TOKENS = 1024
IN_MEMORY = "the model in memory"
MODEL_OWN, THINKS, ANSWERS = "as the model does", "thinks first", "answers at once"


@dataclass
class Side:
    """What one column asks of which model, and what came of it so far."""

    source: str
    thinking: bool | None
    temperature: float
    answer: Answer = field(default_factory=Answer)
    state: str = ""
    error: str = ""


class Column:
    """The components of one side."""

    def __init__(self, name: str) -> None:
        with gr.Column(elem_classes="compare-side", elem_id=f"compare-{name}"):
            self.source = gr.Dropdown(
                [IN_MEMORY, *sources.choices()],
                value=IN_MEMORY,
                label=f"Model, {name}",
                allow_custom_value=True,
            )
            with gr.Row():
                self.thinking = gr.Dropdown(
                    [MODEL_OWN, THINKS, ANSWERS], value=MODEL_OWN, label="Thinking"
                )
                self.temperature = gr.Slider(0, 2, value=0, step=0.05, label="Temperature")
            self.state = gr.HTML("")
            self.thoughts = gr.Markdown(elem_id=f"thoughts-{name}", sanitize_html=True)
            self.answer = gr.Markdown(latex_delimiters=LATEX, sanitize_html=True)

    @property
    def knobs(self) -> list[Any]:
        """What the user chooses."""
        return [self.source, self.thinking, self.temperature]

    @property
    def shown(self) -> list[Any]:
        """What a side is shown in."""
        return [self.state, self.thoughts, self.answer]


class ComparePage:
    """Components and handlers of the page."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._asking: dict[str, object] = {}
        with gr.Column(elem_id="compare", elem_classes="see"):
            with gr.Row(elem_classes="see-ask"):
                self.prompt = gr.Textbox(
                    label="Prompt for both", lines=2, max_lines=8, max_length=20_000
                )
                with gr.Column(elem_classes="see-choose"):
                    self.go = gr.Button("Compare", variant="primary", elem_id="compare-go")
                    self.halt = gr.Button("Stop", elem_id="compare-stop", visible=False)
            self.note = gr.HTML("", elem_id="compare-note")
            with gr.Row(elem_classes="see-view"):
                self.columns = [Column("left"), Column("right")]
        knobs = [knob for column in self.columns for knob in column.knobs]
        shown = [part for column in self.columns for part in column.shown]
        shown = [self.note, *shown, self.go, self.halt]
        for trigger in (self.go.click, self.prompt.submit):
            trigger(self.on_compare, [self.prompt, *knobs], shown, **FREE)
        self.halt.click(self.on_stop, queue=False, **QUIET)

    async def on_compare(
        self, request: gr.Request, prompt: str, *knobs: Any
    ) -> AsyncIterator[tuple]:
        """Ask one after the other, so that neither takes the other's speed."""
        if not prompt.strip():
            yield (status.failed("Write a prompt first."), *(gr.skip(),) * 8)
            return
        owner = tab(request)
        self.on_close(request)
        mine = self._asking[owner] = object()
        sides = [side(*knobs[start : start + 3]) for start in (0, 3)]
        for one in sides:
            async for _ in self._fill(owner, one, prompt):
                if self._asking.get(owner) is not mine:
                    break
                yield "", *self._show(sides), *busy(True)
            if self._asking.get(owner) is not mine:
                break
        yield "", *self._show(sides), *busy(False)

    async def _fill(self, owner: str, one: Side, prompt: str) -> AsyncIterator[None]:
        engine = self.host.engine
        if one.source not in (IN_MEMORY, self.host.source):
            load = self.host.borrow(owner, one.source)
            began_s = time.monotonic()
            while not load.finished:
                one.state = status.progress(one.source, load.state, time.monotonic() - began_s)
                yield
                await asyncio.sleep(REFRESH_S)
            one.state, one.error = "", load.error
            if load.error or load.cancelled:
                return
            engine = load.take()[-1][1]
        job = self.host.stream(owner, lambda _: reply(engine, one, prompt))
        while not job.finished:
            await asyncio.sleep(REFRESH_S)
            one.answer.take(job)
            yield
        one.answer.take(job)
        one.error = job.error

    def on_stop(self, request: gr.Request) -> None:
        """Stop both."""
        self.on_close(request)

    def on_close(self, request: gr.Request) -> None:
        """The tab was closed, or asks something else."""
        self._asking.pop(tab(request), None)
        self.host.loads.cancel(tab(request))
        self.host.replies.cancel(tab(request))

    def _show(self, sides: list[Side]) -> tuple:
        parts: list[str] = []
        for one in sides:
            written = (one.answer.reasoning, one.answer.text)
            parts += [state_html(one), *(model_markdown(text.strip()) for text in written)]
        return tuple(parts)


def tab(request: gr.Request) -> str:
    """What names a tab's comparisons among the host's jobs."""
    return f"compare {request.session_hash}"


def busy(asking: bool) -> tuple:
    """Compare or Stop."""
    return gr.Button(visible=not asking), gr.Button(visible=asking)


def side(source: str | None, thinking: str, temperature: float) -> Side:
    """What the knobs of a column say."""
    chosen = {THINKS: True, ANSWERS: False}.get(thinking)
    return Side((source or "").strip() or IN_MEMORY, chosen, float(temperature))


def reply(engine: Any, one: Side, prompt: str) -> Iterable[Any]:
    """The engine's chunks; `thinking` only where the model has the choice."""
    optional = engine.prompt_format.thinking == "optional"
    return engine.stream(
        [{"role": "user", "content": prompt}],
        max_tokens=min(MAX_TOKENS, engine.context_length),
        sampling=Sampling(temperature=one.temperature, seed=SEED),
        thinking=one.thinking if optional else None,
        kept=engine.new_cache(),  # neither starts from what the other has read
    )


def state_html(one: Side) -> str:
    """Time, speed and memory of a side."""
    if one.error:
        return status.failed(one.error)
    usage = one.answer.usage
    return one.state if usage is None else status.said(" · ".join(status.costs(usage)))
