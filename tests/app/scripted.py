"""A scripted engine with the real one's interface, for what nano cannot be made to do on demand."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from mlx_deepseek import reading
from mlx_deepseek.completion import Usage
from mlx_deepseek.errors import CheckpointError, MemoryLimitError
from mlx_deepseek.prompts.tools import ToolCall
from tests.reading.scripted import Scripted as PageWriter


@dataclass
class Chunk:
    """The engine's delta of a reply."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple = ()
    usage: Any = None
    finish_reason: str | None = None


@dataclass(eq=False)
class ScriptedEngine:
    """Answers the last message: "slow" never ends, "fail" fails, "say: X" says X, else an echo.

    "call: X" calls the tool weather with the arguments X.
    """

    name: str = "scripted"
    context_length: int = 4096
    suggestions: tuple[str, ...] = ("say: hello", "What is 2 + 2?")
    entry: Any = None
    model: Any = None
    step_s: float = 0.01
    sees: bool = False
    fills: bool = False
    modes: tuple[str, ...] = ()
    prompt_format: Any = field(
        default_factory=lambda: SimpleNamespace(thinking="optional", supports_tools=True)
    )
    calls: list[dict[str, Any]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def stream(self, messages: list[dict[str, Any]], **options: Any) -> Iterator[Chunk]:
        """One chunk a step; closing it sets `closed`."""
        self.calls.append({"messages": messages, **options})
        asked: Any = messages[-1]["content"]
        if not isinstance(asked, str):
            asked = "".join(part.get("text", "") for part in asked)
        self.closed.clear()
        made = 0
        try:
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
        for page in reading.read(PageWriter(), sources, **options):
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

    def encode(self, text: str) -> list[int]:
        """A token for each word."""
        return list(range(len(text.split())))

    def new_cache(self) -> SimpleNamespace:
        """A prompt cache that caches nothing."""
        return SimpleNamespace(model=self.model)

    def _usage(self, made: int) -> Usage:
        return Usage(12, made, generation_tps=42.0, reasoning_tokens=min(made, 5))


def load(source: str, *, progress: Any = None) -> ScriptedEngine:
    """A loader: "broken" fails with a plain error, others are engines of that name.

    "eyes" sees, "coder" fills in.
    """
    if source == "broken":
        raise CheckpointError("broken/config.json: missing. Download the checkpoint again.")
    if progress is not None:
        progress("load", 0, 2)
    if source == "eyes":
        known = SimpleNamespace(thinking=None, id="ocr")
        return ScriptedEngine(source, sees=True, modes=("tiny", "base"), prompt_format=known)
    return ScriptedEngine(name=source, fills=source == "coder")
