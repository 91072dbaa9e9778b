"""A scripted engine with the real one's interface, for what nano cannot be made to do on demand."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from PIL import Image

from mlx_deepseek import prompts
from mlx_deepseek.documents.read import read as read_pages
from mlx_deepseek.errors import CheckpointError, MemoryLimitError
from mlx_deepseek.generation.job import Activity
from mlx_deepseek.generation.results import Usage
from mlx_deepseek.generation.stream import Stream
from mlx_deepseek.image_generation import DrawProgress, DrawSettings, Picture
from mlx_deepseek.image_generation.draw import Origin
from mlx_deepseek.prompts.tools import ToolCall
from tests.documents.scripted import Scripted as PageWriter


@dataclass
class Chunk:
    """The engine's delta of a reply."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple = ()
    usage: Any = None
    finish_reason: str | None = None

    @property
    def says_something(self) -> bool:
        """As the engine's."""
        return bool(self.text or self.reasoning or self.tool_calls)


@dataclass(eq=False)
class ScriptedEngine:
    """Answers the last message: "slow" never ends, "fail" fails, "read" reads on until
    its `activity` says all is read, "say: X" says X, else an echo.

    "call: X" calls the tool weather with the arguments X, "use NAME: X" the tool of that name.
    """

    name: str = "scripted"
    context_length: int = 4096
    suggestions: tuple[str, ...] = ("say: hello", "What is 2 + 2?")
    entry: Any = None
    model: Any = None
    step_s: float = 0.01
    sees: bool = False
    fills: bool = False
    draw_defaults: DrawSettings | None = None
    modes: tuple[str, ...] = ()
    prompt_format: Any = field(
        default_factory=lambda: SimpleNamespace(thinking="optional", supports_tools=True)
    )
    calls: list[dict[str, Any]] = field(default_factory=list)
    activity: Activity = field(
        default_factory=lambda: Activity(1, "reading", 12_000, 4_800, 0, 0, 30.0)
    )
    closed: threading.Event = field(default_factory=threading.Event)

    def stream(self, messages: list[dict[str, Any]], **options: Any) -> Stream:
        """One chunk a step; closing it sets `closed`."""
        chunks: Any = self._written(messages, **options)
        return Stream(chunks, activity=lambda: self.activity)

    def count_tokens(self, messages: list[dict[str, Any]], **options: Any) -> int:
        """A token for each word."""
        return sum(len(str(message["content"]).split()) for message in messages)

    def _written(self, messages: list[dict[str, Any]], **options: Any) -> Iterator[Chunk]:
        self.calls.append({"messages": messages, **options})
        asked: Any = messages[-1]["content"]
        if not isinstance(asked, str):
            asked = "".join(part.get("text", "") for part in asked)
        self.closed.clear()
        made = 0
        try:
            while asked.startswith("read") and self.activity.read_tokens < 12_000:
                time.sleep(self.step_s)
                yield Chunk()
            if asked.startswith("fail"):
                raise MemoryLimitError("this prompt needs 9 GiB, 4 GiB are free. Shorten it.")
            if options.get("thinking") is not False:
                for word in ("Let ", "me ", "think ", "about ", "it."):
                    time.sleep(self.step_s)
                    made += 1
                    yield Chunk(reasoning=word, usage=self._usage(made))
            if asked.startswith("call: "):
                call = ToolCall("weather", asked.removeprefix("call: "))
                yield Chunk(tool_calls=(call,), usage=self._usage(made))
                asked = "say: "
            if used := re.fullmatch(r"use (\w+): (.*)", asked, re.DOTALL):
                yield Chunk(tool_calls=(ToolCall(used[1], used[2]),), usage=self._usage(made))
                asked = "say: "
            answer = asked.removeprefix("say: ") if asked.startswith("say: ") else f"Echo: {asked}"
            while asked.startswith("slow"):
                time.sleep(self.step_s)
                made += 1
                yield Chunk(text="tick ", usage=self._usage(made))
            for start in range(0, len(answer), 16):
                time.sleep(self.step_s)
                made += 1
                yield Chunk(text=answer[start : start + 16], usage=self._usage(made))
            yield Chunk(usage=self._usage(made), finish_reason="stop")
        finally:
            self.closed.set()

    def read(self, *sources: Any, **options: Any) -> Iterator[Any]:
        """Pages as tests/reading/scripted.py transcribes them; a step between their states."""
        self.calls.append({"sources": sources, **options})
        options = {key: options[key] for key in ("prompt", "wanted")}
        for page in read_pages(PageWriter(), sources, **options):
            time.sleep(self.step_s)
            yield page

    def stream_completion(self, prefix: str, suffix: str = "", **options: Any) -> Iterator[Chunk]:
        """Says what it was given; "slow" in the prefix never ends."""
        self.calls.append({"prefix": prefix, "suffix": suffix, **options})
        made = 0
        while "slow" in prefix:
            time.sleep(self.step_s)
            made += 1
            yield Chunk(text="# tick\n", usage=self._usage(made))
        for text in ("return sum(numbers)", " / len(numbers)"):
            time.sleep(self.step_s)
            made += 1
            yield Chunk(text=text, usage=self._usage(made))
        yield Chunk(usage=self._usage(made), finish_reason="stop")

    def draw(self, prompt: str, n: int = 1, **options: Any) -> Iterator[DrawProgress]:
        """Grey pictures, each as light as its seed; "slow" never ends."""
        self.calls.append({"prompt": prompt, "n": n, **options})
        seed = 7 if options["seed"] is None else options["seed"]
        grey = Image.new("RGB", (64, 64), "grey")
        self.closed.clear()
        try:
            done = 0
            while done < 3 or prompt.startswith("slow"):
                time.sleep(self.step_s)
                done += 1
                yield DrawProgress(min(done, 3), 4, previews=(grey,) * n if done == 1 else ())
            scores = [None] * n if options["best_of"] is None else [0.75] * n
            pictures = tuple(
                Picture(
                    Image.new("RGB", (64, 64), (seed + i,) * 3),
                    Origin(self.name, "4bit", prompt, seed + i, 5.0, 1.0, None),
                    scores[i],
                )
                for i in range(n)
            )
            yield DrawProgress(4, 4, pictures)
        finally:
            self.closed.set()

    def encode(self, text: str) -> list[int]:
        """A token for each word."""
        return list(range(len(text.split())))

    def new_cache(self) -> SimpleNamespace:
        """A prompt cache that caches nothing."""
        return SimpleNamespace(model=self.model)

    def _usage(self, made: int) -> Usage:
        return Usage(12, made, generation_tps=42.0, reasoning_tokens=min(made, 5))


class ProverEngine(ScriptedEngine):
    """Fails once, then proves that conjunctions commute; "slow" in the prompt never ends."""

    def _written(self, messages: Any, **options: Any) -> Iterator[Chunk]:
        self.calls.append({"prompt": messages, **options})
        proof = "  exact nothing" if len(self.calls) == 1 else "  intro h\n  exact ⟨h.2, h.1⟩"
        while "slow" in messages:
            time.sleep(self.step_s)
            yield Chunk(text=" ", usage=self._usage(1))
        yield Chunk(text=proof, usage=self._usage(len(proof)))


def load(source: str, *, progress: Any = None) -> ScriptedEngine:
    """A loader: "broken" fails with a plain error, others are engines of that name.

    "eyes" sees, "coder" fills in, "painter" draws and sees.
    """
    if source == "broken":
        raise CheckpointError("broken/config.json: missing. Download the checkpoint again.")
    if progress is not None:
        progress("load", 0, 2)
    if source == "eyes":
        known = SimpleNamespace(thinking=None, id="ocr")
        return ScriptedEngine(source, sees=True, modes=("tiny", "base"), prompt_format=known)
    if source == "prover":
        return ProverEngine(
            name=source,
            entry=SimpleNamespace(family="Prover", skills=("proofs",), sampling=None),
            prompt_format=prompts.get("prover_v15"),
        )
    draws = source == "painter"
    drawing = DrawSettings(guidance=5.0, temperature=1.0) if draws else None
    return ScriptedEngine(source, fills=source == "coder", sees=draws, draw_defaults=drawing)
