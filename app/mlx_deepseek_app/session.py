"""A conversation as a value: what was said, what the page shows, what the model is sent.

Pure functions of frozen data, so that tabs cannot share a turn by accident.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlx_deepseek_app.text import model_markdown, user_markdown

State = Literal["waiting", "writing", "done", "stopped", "length", "error"]


@dataclass(frozen=True)
class Turn:
    """One user message or one reply; times in seconds, counts in tokens."""

    role: Literal["user", "assistant"]
    text: str = ""
    reasoning: str = ""
    state: State = "done"
    error: str = ""
    thinking_s: float | None = None
    usage: Any = None

    @property
    def running(self) -> bool:
        """Whether the reply is still being made."""
        return self.state in ("waiting", "writing")


@dataclass(frozen=True)
class Settings:
    """What the settings panel holds; None means the model's recommended value."""

    system: str = ""
    thinking: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int = 0
    max_tokens: int = 1024
    seed: int | None = None


@dataclass(frozen=True)
class Conversation:
    """The turns so far; `serial` counts the replies asked for, so that a stale one is noticed."""

    turns: tuple[Turn, ...] = ()
    serial: int = 0

    # -- what the user does ------------------------------------------------------------------

    def ask(self, text: str) -> "Conversation":
        """The user's next message and an empty reply to it."""
        return self._with_reply((*self._settled(), Turn("user", text)))

    def retry(self, index: int) -> "Conversation":
        """Answer again the user message at or before turn `index`; what followed is dropped."""
        while index >= 0 and self.turns[index].role != "user":
            index -= 1
        if index < 0:
            raise IndexError("there is no message to answer again")
        return self._with_reply(self.turns[: index + 1])

    def edit(self, index: int, text: str) -> "Conversation":
        """Replace the user message at turn `index` and answer it; what followed is dropped."""
        if self.turns[index].role != "user":
            raise ValueError("only your own messages can be edited")
        return self._with_reply((*self.turns[:index], Turn("user", text)))

    def _with_reply(self, turns: tuple[Turn, ...]) -> "Conversation":
        return Conversation((*turns, Turn("assistant", state="waiting")), self.serial + 1)

    def _settled(self) -> tuple[Turn, ...]:
        """The turns with a reply that was interrupted marked as stopped."""
        return tuple(
            replace(turn, state="stopped") if turn.running else turn for turn in self.turns
        )

    # -- what the model does -----------------------------------------------------------------

    def write(self, chunks: Iterable[tuple[float, Any]]) -> "Conversation":
        """Append the engine's chunks to the last reply; each with its second of the reply."""
        reply = self.turns[-1]
        for elapsed_s, chunk in chunks:
            text = reply.text + (chunk.text or "")
            reasoning = reply.reasoning + (chunk.reasoning or "")
            # thinking lasts until the first visible character of the answer
            thinking_s = reply.thinking_s if reply.text.strip() or not reasoning else elapsed_s
            usage = chunk.usage if chunk.usage is not None else reply.usage
            reply = replace(
                reply,
                text=text,
                reasoning=reasoning,
                thinking_s=thinking_s,
                usage=usage,
                state="length" if chunk.finish_reason == "length" else "writing",
            )
        return self._replace_reply(reply)

    def finish(self, *, stopped: bool = False, error: str = "") -> "Conversation":
        """Close the last reply."""
        reply = self.turns[-1]
        if error:
            return self._replace_reply(replace(reply, state="error", error=error))
        state: State = "stopped" if stopped else "length" if reply.state == "length" else "done"
        return self._replace_reply(replace(reply, state=state))

    def _replace_reply(self, reply: Turn) -> "Conversation":
        return replace(self, turns=(*self.turns[:-1], reply))

    # -- what the model is sent --------------------------------------------------------------

    def messages(self, system: str = "") -> list[dict[str, str]]:
        """The conversation for the engine: without the open reply, without failed exchanges."""
        sent: list[dict[str, str]] = []
        if system.strip():
            sent.append({"role": "system", "content": system.strip()})
        for index, turn in enumerate(self.turns):
            following = self.turns[index + 1] if index + 1 < len(self.turns) else None
            if turn.role == "user":
                if not (following and following.state == "error"):
                    sent.append({"role": "user", "content": turn.text})
            elif turn.state != "error" and not turn.running:
                reply = {"role": "assistant", "content": turn.text}
                if turn.reasoning:
                    reply["reasoning_content"] = turn.reasoning
                sent.append(reply)
        return sent


def rows(conversation: Conversation) -> tuple[list[dict[str, Any]], list[int]]:
    """The chat component's messages, and for each the index of the turn that it shows."""
    shown: list[dict[str, Any]] = []
    owners: list[int] = []
    for index, turn in enumerate(conversation.turns):
        parts = [_row("user", user_markdown(turn.text))] if turn.role == "user" else _reply(turn)
        shown.extend(parts)
        owners.extend([index] * len(parts))
    return shown, owners


def _reply(turn: Turn) -> list[dict[str, Any]]:
    parts = []
    if turn.reasoning.strip():
        thinking = turn.running and not turn.text.strip()
        metadata: dict[str, Any] = {"title": "Thinking", "status": "pending"}
        if not thinking:
            metadata = {"title": "Thought", "status": "done"}
            if turn.thinking_s is not None:
                metadata["duration"] = round(turn.thinking_s, 1)
        parts.append(_row("assistant", model_markdown(turn.reasoning.strip()), metadata))
    if turn.text.strip():
        parts.append(_row("assistant", model_markdown(turn.text.strip())))
    if turn.state == "error":
        parts.append(_row("assistant", f"⚠️ **No answer.** {user_markdown(turn.error)}"))
    elif turn.state == "length":
        parts.append(_row("assistant", "*Cut off: the limit of new tokens was reached.*"))
    elif turn.state == "stopped":
        parts.append(_row("assistant", "*Stopped.*"))
    elif turn.state == "done" and not parts:
        parts.append(_row("assistant", "*The model answered with nothing.*"))
    return parts


def _row(role: str, markdown: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    content = [{"type": "text", "text": markdown}]
    return {"role": role, "content": content, "metadata": metadata or {}}
