"""A conversation as a value: what was said, what the page shows, what the model is sent.

Pure functions of frozen data, so that tabs cannot share a turn by accident.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mlx_deepseek.completion import as_message
from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.attachments import thumbnail
from mlx_deepseek_app.structure import card, results
from mlx_deepseek_app.text import model_markdown, user_markdown
from mlx_deepseek_app.turns import (
    Picture,
    State,
    Turn,
    branch,
    new_id,
    newest_below,
    versions,
    without,
)


@dataclass(frozen=True)
class Settings:
    """What the settings panel holds; None means the model's recommended value.

    With `json_answer` replies are JSON, of the `schema` if there is one; `tools` is a JSON list.
    """

    system: str = ""
    thinking: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int = 0
    max_tokens: int = 1024
    seed: int | None = None
    json_answer: bool = False
    schema: str = ""
    tools: str = ""


@dataclass(frozen=True)
class Conversation:
    """All branches and which one is shown; `id` is set by the first question."""

    nodes: tuple[Turn, ...] = ()
    tip: str = ""
    id: str = ""

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """The branch that is shown."""
        return branch(self.nodes, self.tip)

    # -- what the user does ------------------------------------------------------------------

    def ask(self, text: str, pictures: Iterable[Picture] = ()) -> "Conversation":
        """The user's next message and an empty reply to it."""
        return self._settled()._asked(text, self.tip, pictures)

    def retry(self, index: int) -> "Conversation":
        """Answer again the user message at or before turn `index`, as another version."""
        settled = self._settled()
        return settled._replied(settled._question(index))

    def edit(self, index: int, text: str) -> "Conversation":
        """Ask the user message at turn `index` differently, as another version of it."""
        if self.turns[index].role != "user":
            raise ValueError("only your own messages can be edited")
        asked = self.turns[index]
        return self._settled()._asked(text, asked.parent, asked.pictures)

    def resume(self) -> "Conversation":
        """Open the last reply again, to go on where it was cut off."""
        reply = self.turns[-1]
        if not reply.unfinished:
            raise ValueError("the last reply is complete")
        return self._replace_reply(replace(reply, state="writing", error=""))

    def delete(self, index: int) -> "Conversation":
        """Without the exchange that turn `index` belongs to; what followed stays."""
        question = self._question(index)
        nodes = without(self._settled().nodes, question)
        gone = all(turn.id != self.tip for turn in nodes)
        tip = newest_below(nodes, question.parent) if gone else self.tip
        return replace(self, nodes=nodes, tip=tip)

    def version(self, index: int) -> tuple[int, int]:
        """Which version of turn `index` is shown, counted from 1, and how many there are."""
        ids = versions(self.nodes, self.turns[index])
        return ids.index(self.turns[index].id) + 1, len(ids)

    def switch(self, index: int, step: int) -> "Conversation":
        """Show the version of turn `index` that is `step` further, with what followed it last."""
        ids = versions(self.nodes, self.turns[index])
        at = ids.index(self.turns[index].id) + step
        chosen = ids[min(max(at, 0), len(ids) - 1)]
        return replace(self._settled(), tip=newest_below(self.nodes, chosen))

    def _question(self, index: int) -> Turn:
        while index >= 0 and self.turns[index].role != "user":
            index -= 1
        if index < 0:
            raise IndexError("there is no message to answer again")
        return self.turns[index]

    def _asked(self, text: str, parent: str, pictures: Iterable[Picture]) -> "Conversation":
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be kept
        question = Turn("user", text, parent=parent, pictures=tuple(pictures))
        return replace(self, nodes=(*self.nodes, question))._replied(question)

    def _replied(self, question: Turn) -> "Conversation":
        reply = Turn("assistant", state="waiting", parent=question.id)
        return Conversation((*self.nodes, reply), reply.id, self.id or new_id())

    def _settled(self) -> "Conversation":
        """With a reply that was interrupted marked as stopped."""
        return replace(
            self,
            nodes=tuple(
                replace(turn, state="stopped") if turn.running else turn for turn in self.nodes
            ),
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
                calls=(*reply.calls, *chunk.tool_calls),
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
        nodes = tuple(reply if turn.id == reply.id else turn for turn in self.nodes)
        return replace(self, nodes=nodes)

    # -- what the model is sent --------------------------------------------------------------

    @property
    def pictured(self) -> bool:
        """Whether the branch that is shown has pictures."""
        return any(turn.pictures for turn in self.turns)

    def messages(self, system: str = "", sees: bool = False) -> list[dict[str, Any]]:
        """The conversation for the engine: without failed exchanges, pictures if it `sees`.

        The open reply is there only if something of it was written before: to go on from.
        """
        sent: list[dict[str, Any]] = []
        if system.strip():
            sent.append({"role": "system", "content": system.strip()})
        for index, turn in enumerate(self.turns):
            following = self.turns[index + 1] if index + 1 < len(self.turns) else None
            if turn.role == "user":
                calls = self.turns[index - 1].calls if index else ()
                if not (following and following.state == "error"):
                    asked = [{"role": "user", "content": _content(turn, sees)}]
                    sent += results(calls, turn.text) if calls else asked
            elif turn.state != "error" and (turn.text or turn.reasoning or not turn.running):
                reply = as_message(turn.text, turn.reasoning, turn.calls)
                sent.append(reply | {"prefix": True} if turn.running else reply)
        return sent


def _content(turn: Turn, sees: bool) -> str | list[dict[str, Any]]:
    if not (sees and turn.pictures):
        return turn.text
    pictures = [{"type": "image_url", "image_url": {"url": one.url}} for one in turn.pictures]
    return [*pictures, {"type": "text", "text": turn.text}]


def rows(conversation: Conversation) -> tuple[list[dict[str, Any]], list[int]]:
    """The chat component's messages, and for each the index of the turn that it shows."""
    shown: list[dict[str, Any]] = []
    owners: list[int] = []
    calls: tuple[ToolCall, ...] = ()
    for index, turn in enumerate(conversation.turns):
        parts = _asked(turn, calls) if turn.role == "user" else _reply(turn)
        calls = turn.calls
        shown.extend(parts)
        owners.extend([index] * len(parts))
    if calls and not conversation.turns[-1].running:
        shown.append(_row("assistant", _note("Write what the tool gives as your next message.")))
        owners.append(len(conversation.turns) - 1)
    if conversation.turns and conversation.turns[-1].unfinished:
        shown[-1]["options"] = [{"value": "continue", "label": "Continue"}]
    return shown, owners


def _asked(turn: Turn, calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
    title = {"title": f"Result of {', '.join(call.name for call in calls)}"} if calls else None
    pictures = "".join(map(thumbnail, turn.pictures))
    gap = "\n\n" if pictures and turn.text else ""
    return [_row("user", pictures + gap + user_markdown(turn.text), title)]


def _reply(turn: Turn) -> list[dict[str, Any]]:
    parts = []
    if turn.reasoning.strip():
        thinking = turn.running and not turn.text.strip()
        metadata = {"title": thought(turn, thinking), "status": "pending" if thinking else "done"}
        parts.append(_row("assistant", model_markdown(turn.reasoning.strip()), metadata))
    if turn.text.strip():
        parts.append(_row("assistant", model_markdown(turn.text.strip())))
    for call in turn.calls:
        parts.append(_row("assistant", card(call), {"title": f"Calls {call.name}"}))
    if turn.state == "error":
        parts.append(_row("assistant", _error(turn.error)))
    elif turn.state == "length":
        parts.append(_row("assistant", _note("Cut off: the limit of new tokens was reached.")))
    elif turn.state in ("stopped", "cut"):
        note = "Stopped." if turn.state == "stopped" else "Cut off: the app ended here."
        parts.append(_row("assistant", _note(note)))
    elif turn.state == "done" and not parts:
        parts.append(_row("assistant", _note("The model answered with nothing.")))
    return parts


def thought(turn: Turn, thinking: bool) -> str:
    """What stands over a reply's thinking: its seconds and tokens, live too."""
    told = "Thinking" if thinking else "Thought"
    parts = [told if turn.thinking_s is None else f"{told} for {turn.thinking_s:.1f} s"]
    if count := getattr(turn.usage, "reasoning_tokens", 0):
        parts.append(f"{count:,} tokens")
    return " · ".join(parts)


# HTML, so that a model cannot write it: `words.js` translates these and nothing else in a message
def _note(text: str) -> str:
    return f'<em class="app-note">{text}</em>'


def _error(text: str) -> str:
    said = (f'<span class="app-note">{part}</span>' for part in ("No answer.", user_markdown(text)))
    return "⚠️ **{}** {}".format(*said)


def _row(role: str, markdown: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    content = [{"type": "text", "text": markdown}]
    return {"role": role, "content": content, "metadata": metadata or {}}
