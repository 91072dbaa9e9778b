"""A conversation as a value: what was said, and what the model is sent.

Pure functions of frozen data, so that tabs cannot share a turn by accident.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mlx_deepseek.completion import as_message
from mlx_deepseek_app.structure import results
from mlx_deepseek_app.turns import (
    Picture,
    State,
    Turn,
    branch,
    new_id,
    newest_below,
    versions,
    without,
    without_version,
)

LARGEST_SEED = 2**63 - 1


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

    def rewrite(self, index: int, text: str) -> "Conversation":
        """Put words of the user's own into the reply at turn `index`, as another version of it."""
        reply = self.turns[index]
        if reply.role != "assistant":
            raise ValueError("only replies can be rewritten")
        text = text.encode("utf-8", "replace").decode()
        written = replace(reply, text=text, state="done", error="", id=new_id())
        settled = self._settled()
        return replace(settled, nodes=(*settled.nodes, written), tip=written.id)

    def resume(self) -> "Conversation":
        """Open the last reply again, to go on where it was cut off."""
        reply = self.turns[-1]
        if not reply.unfinished:
            raise ValueError("the last reply is complete")
        return self._replace_reply(replace(reply, state="writing", error=""))

    def delete(self, index: int) -> "Conversation":
        """Without the exchange that turn `index` belongs to; what followed stays.

        Of a reply with other versions only this one goes, with what followed it.
        """
        question, settled = self._question(index), self._settled()
        if self.turns[index] != question and self.version(index)[1] > 1:
            nodes = without_version(settled.nodes, self.turns[index])
            return replace(self, nodes=nodes, tip=newest_below(nodes, question.id))
        nodes = without(settled.nodes, question)
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
