"""Compare: one prompt, two models or two ways of asking one, side by side."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.queue import Answer, watch
from mlx_deepseek_app.models import choices
from mlx_deepseek_app.models.loads import Load
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE
from mlx_deepseek_app.widgets.markdown import LATEX, escaped, model_html

REFRESH_S = 0.15
SEED = 0  # the same for both
MAX_TOKENS = 1024
IN_MEMORY = "the model in memory"
EXAMPLES = (
    "Which is bigger, 9.11 or 9.8?",
    "How many r's are in strawberry?",
    "Write a haiku about the sea in autumn.",
)
EMPTY = '<p class="none">The answer, its thinking, speed and memory appear here.</p>'
MODEL_OWN, THINKS, ANSWERS = "Model default", "thinks first", "answers at once"


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
                [IN_MEMORY, *choices.choices()],
                value=IN_MEMORY,
                label=f"Model, {name}",
                allow_custom_value=True,
            )
            with gr.Row():
                self.thinking = gr.Dropdown(
                    [MODEL_OWN, THINKS, ANSWERS], value=MODEL_OWN, label="Thinking"
                )
                self.temperature = gr.Slider(0, 2, value=0, step=0.05, label="Temperature")
            self.state = gr.HTML(EMPTY)
            self.thoughts = gr.Markdown(
                elem_id=f"thoughts-{name}", latex_delimiters=LATEX, sanitize_html=True
            )
            self.answer = gr.Markdown(latex_delimiters=LATEX, sanitize_html=True)

    @property
    def inputs(self) -> list[Any]:
        """What the user chooses."""
        return [self.source, self.thinking, self.temperature]

    @property
    def shown(self) -> list[Any]:
        """What a side is shown in."""
        return [self.state, self.thoughts, self.answer]


class CompareTab(JobTab):
    """Components and handlers of the page."""

    name = "compare"
    title = "Compare"
    about = "Ask two models the same, or one in two ways: answers, time and memory side by side."

    def __init__(self, service: ModelService, store: Store) -> None:
        super().__init__(service, store)
        self._asking: dict[str, object] = {}
        with self.frame():
            with self.asking():
                self.prompt = gr.Textbox(
                    label="Prompt for both",
                    lines=2,
                    max_lines=8,
                    max_length=20_000,
                    placeholder="What do you want to ask both?",
                )
                with self.choosing():
                    self.buttons("Compare")
            example = self.examples(EXAMPLES, self.prompt)
            with gr.Row(elem_classes="see-view"):
                self.columns = [Column("left"), Column("right")]
        self.follows = [column.source for column in self.columns]
        inputs = [part for column in self.columns for part in column.inputs]
        shown = [part for column in self.columns for part in column.shown]
        for trigger in (self.go.click, self.prompt.submit, example.then):
            trigger(
                self.on_compare,
                [self.prompt, *inputs],
                [self.state, *shown, self.go, self.halt],
                **FREE,
            )

    async def on_compare(
        self, request: gr.Request, prompt: str, *inputs: Any
    ) -> AsyncIterator[Updates]:
        """Ask both at once: what one takes of the other's speed, the other takes of its."""
        if not prompt.strip():
            yield {self.state: status.failed("Write a prompt first.")}
            return
        owner = self.owner(request)
        self.on_stop(request)
        mine = self._asking[owner] = object()
        sides = [side(*inputs[start : start + 3]) for start in (0, 3)]
        filling = asyncio.gather(*(self._fill(owner, one, prompt) for one in sides))
        try:
            while not filling.done() and self._asking.get(owner) is mine:
                yield self._show(sides) | self.running(True)
                await asyncio.sleep(REFRESH_S)
            told = difference(sides) if self._asking.get(owner) is mine else ""
            yield self._show(sides) | self.running(False) | {self.state: told}
        finally:
            filling.cancel()

    async def _fill(self, owner: str, one: Side, prompt: str) -> None:
        engine = self.service.engine
        if one.source not in (IN_MEMORY, self.service.source):
            load = self.service.load_beside(owner, one.source)
            shown = Load(one.source, load)
            async for _ in watch(load, REFRESH_S):
                one.state = shown.html(acts=False)
            one.state, one.error = "", load.error
            if load.error or load.cancelled:
                return
            engine = load.take()[-1][1]
        job = one.answer.job = self.service.stream(owner, lambda _: reply(engine, one, prompt))
        async for _ in watch(job, REFRESH_S, one.answer.take):
            one.error = job.error

    def on_stop(self, request: gr.Request) -> None:
        """Stop both."""
        self._asking.pop(self.owner(request), None)
        super().on_stop(request)

    def on_model(self, known: ModelFacts) -> Updates:
        """The model in memory by its name."""
        first = f"{known.name.rsplit('/', 1)[-1]}, in memory" if known.name else IN_MEMORY
        offered = [(first, IN_MEMORY), *choices.choices()]
        return {column.source: gr.Dropdown(offered) for column in self.columns}

    def _show(self, sides: list[Side]) -> Updates:
        updates: Updates = {self.state: ""}
        for column, one in zip(self.columns, sides, strict=True):
            updates[column.state] = state_html(one)
            updates[column.thoughts] = thoughts_html(one.answer)
            updates[column.answer] = model_html(one.answer.text.strip())
        return updates


def side(source: str | None, thinking: str, temperature: float) -> Side:
    """What the inputs of a column say."""
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
        prompt_cache=engine.new_cache(),  # neither starts from what the other has read
    )


def thoughts_html(answer: Answer) -> str:
    """What was thought, folded once there is an answer."""
    thought = model_html(answer.reasoning.strip())
    if not thought:
        return ""
    unfolded = "" if answer.text.strip() else " open"
    summary = '<summary class="app-note">Thinking</summary>'
    return f"<details{unfolded}>{summary}\n\n{thought}\n\n</details>"


def difference(sides: list[Side]) -> str:
    """Where two whole answers part."""
    left, right = (one.answer.text.split() for one in sides)
    if not left or not right or any(one.error for one in sides):
        return ""
    if left == right:
        return status.said("Both answers are the same.")
    alike = next(
        (at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )
    if not alike:
        return status.said("The answers differ from the first word on.")
    return status.said(f"The answers have their first {alike:,} words in common, and then differ.")


def state_html(one: Side) -> str:
    """Time, speed and memory of a side, with a button that copies its answer when it is there."""
    if one.error:
        return status.failed(one.error)
    usage = one.answer.usage
    if usage is None:
        return one.state
    told = status.said(" · ".join(status.costs(usage)))
    if one.answer.job is None or not one.answer.job.finished:
        return told
    text = escaped(one.answer.text)
    return f'{told}<button type="button" class="copy-text" data-copy="{text}">Copy</button>'
