"""A conversation as a value: what was said, and what the model is sent.

Pure functions of frozen data, so that tabs cannot share a message by accident.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mlx_deepseek.generation.results import as_message
from mlx_deepseek_app.conversation.messages import (
    Attached,
    AttachedPicture,
    AttachedText,
    Message,
    State,
    branch,
    new_id,
    newest_below,
    versions,
    without,
    without_version,
)
from mlx_deepseek_app.conversation.tools_json import results


@dataclass(frozen=True)
class Conversation:
    """All branches and which one is shown; `id` is set by the first question."""

    nodes: tuple[Message, ...] = ()
    leaf: str = ""
    id: str = ""

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The branch that is shown."""
        return branch(self.nodes, self.leaf)

    def index(self, key: str) -> int | None:
        """Where the message of this id is in the branch that is shown; None if it is not."""
        return next((at for at, message in enumerate(self.messages) if message.id == key), None)

    # -- what the user does ------------------------------------------------------------------

    def ask(self, text: str, attached: Iterable[Attached] = ()) -> "Conversation":
        """The user's next message and an empty reply to it."""
        return self._settled()._asked(text, self.leaf, attached)

    def retry(self, index: int) -> "Conversation":
        """Answer again the user message at or before turn `index`, as another version."""
        settled = self._settled()
        return settled._replied(settled._question(index))

    def edit(self, index: int, text: str) -> "Conversation":
        """Ask the user message at turn `index` differently, as another version of it."""
        if self.messages[index].role != "user":
            raise ValueError("only your own messages can be edited")
        asked = self.messages[index]
        return self._settled()._asked(text, asked.parent, asked.attached)

    def rewrite(self, index: int, text: str) -> "Conversation":
        """Put words of the user's own into the reply at turn `index`, as another version of it."""
        reply = self.messages[index]
        if reply.role != "assistant":
            raise ValueError("only replies can be rewritten")
        text = text.encode("utf-8", "replace").decode()
        written = replace(
            reply, text=text, state="done", error="", id=new_id(), written_s=time.time()
        )
        settled = self._settled()
        return replace(settled, nodes=(*settled.nodes, written), leaf=written.id)

    def resume(self) -> "Conversation":
        """Open the last reply again, to go on where it was cut off."""
        reply = self.messages[-1]
        if not reply.unfinished:
            raise ValueError("the last reply is complete")
        return self._replace_reply(replace(reply, state="writing", error=""))

    def delete(self, index: int) -> "Conversation":
        """Without the exchange that turn `index` belongs to; what followed stays.

        Of a reply with other versions only this one goes, with what followed it.
        """
        question, settled = self._question(index), self._settled()
        if self.messages[index] != question and self.version(index)[1] > 1:
            nodes = without_version(settled.nodes, self.messages[index])
            return replace(self, nodes=nodes, leaf=newest_below(nodes, question.id))
        nodes = without(settled.nodes, question)
        gone = all(message.id != self.leaf for message in nodes)
        leaf = newest_below(nodes, question.parent) if gone else self.leaf
        return replace(self, nodes=nodes, leaf=leaf)

    def branched(self, index: int | None = None) -> "Conversation":
        """A conversation of its own: all of this one, or what is shown up to the reply `index`."""
        settled = self._settled()
        nodes = settled.nodes if index is None else settled.messages[: index + 1]
        return Conversation(nodes, self.leaf if index is None else nodes[-1].id, new_id())

    def version(self, index: int) -> tuple[int, int]:
        """Which version of turn `index` is shown, counted from 1, and how many there are."""
        ids = versions(self.nodes, self.messages[index])
        return ids.index(self.messages[index].id) + 1, len(ids)

    def switch(self, index: int, step: int) -> "Conversation":
        """Show the version of turn `index` that is `step` further, with what followed it last."""
        ids = versions(self.nodes, self.messages[index])
        at = ids.index(self.messages[index].id) + step
        chosen = ids[min(max(at, 0), len(ids) - 1)]
        return replace(self._settled(), leaf=newest_below(self.nodes, chosen))

    def _question(self, index: int) -> Message:
        while index >= 0 and self.messages[index].role != "user":
            index -= 1
        if index < 0:
            raise IndexError("there is no message to answer again")
        return self.messages[index]

    def _asked(self, text: str, parent: str, attached: Iterable[Attached]) -> "Conversation":
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be kept
        attached = tuple(attached)
        pictures = tuple(one for one in attached if isinstance(one, AttachedPicture))
        texts = tuple(one for one in attached if isinstance(one, AttachedText))
        question = Message(
            "user", text, parent=parent, pictures=pictures, texts=texts, written_s=time.time()
        )
        return replace(self, nodes=(*self.nodes, question))._replied(question)

    def _replied(self, question: Message) -> "Conversation":
        reply = Message("assistant", state="waiting", parent=question.id, written_s=time.time())
        return Conversation((*self.nodes, reply), reply.id, self.id or new_id())

    def _settled(self) -> "Conversation":
        """With a reply that was interrupted marked as stopped."""
        return replace(
            self,
            nodes=tuple(
                replace(message, state="stopped") if message.running else message
                for message in self.nodes
            ),
        )

    # -- what the model does -----------------------------------------------------------------

    def write(self, chunks: Iterable[tuple[float, Any]]) -> "Conversation":
        """Append the engine's chunks to the last reply; each with its second of the reply."""
        reply = self.messages[-1]
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
                pictures=getattr(chunk, "pictures", ()) or reply.pictures,
                state="length" if chunk.finish_reason == "length" else "writing",
            )
        return self._replace_reply(reply)

    def finish(self, *, stopped: bool = False, error: str = "") -> "Conversation":
        """Close the last reply."""
        reply = self.messages[-1]
        if error:
            return self._replace_reply(replace(reply, state="error", error=error))
        state: State = "stopped" if stopped else "length" if reply.state == "length" else "done"
        return self._replace_reply(replace(reply, state=state))

    def _replace_reply(self, reply: Message) -> "Conversation":
        nodes = tuple(reply if message.id == reply.id else message for message in self.nodes)
        return replace(self, nodes=nodes)

    # -- what the model is sent --------------------------------------------------------------

    @property
    def pictured(self) -> bool:
        """Whether the branch that is shown has pictures."""
        return any(message.pictures for message in self.messages)

    def prompt(self, system: str = "", sees: bool = False) -> list[dict[str, Any]]:
        """The conversation for the engine: without failed exchanges, pictures if it `sees`.

        The open reply is there only if something of it was written before: to go on from. A picture
        that the model has drawn is shown to it with the next question, without the wish for it.
        """
        sent: list[dict[str, Any]] = []
        drawn: tuple[AttachedPicture, ...] = ()
        if system.strip():
            sent.append({"role": "system", "content": system.strip()})
        for index, message in enumerate(self.messages):
            following = self.messages[index + 1] if index + 1 < len(self.messages) else None
            if message.role == "user" and following and following.pictures:
                drawn += following.pictures
            elif message.pictures and message.role == "assistant":
                continue
            elif message.role == "user":
                calls = self.messages[index - 1].calls if index else ()
                if not (following and following.state == "error"):
                    asked = [{"role": "user", "content": _content(message, sees, drawn)}]
                    drawn = ()
                    sent += results(calls, message.text) if calls else asked
            elif message.state != "error" and (
                message.text or message.reasoning or not message.running
            ):
                reply = as_message(message.text, message.reasoning, message.calls)
                sent.append(reply | {"prefix": True} if message.running else reply)
        return sent


def _content(
    message: Message, sees: bool, drawn: Sequence[AttachedPicture] = ()
) -> str | list[dict[str, Any]]:
    # what is asked stands last: other questions of the same files begin with the same tokens
    text = "".join(map(_file, message.texts)) + message.text
    shown = (*drawn, *message.pictures)
    if not (sees and shown):
        return text
    pictures = [{"type": "image_url", "image_url": {"url": one.url}} for one in shown]
    return [*pictures, {"type": "text", "text": text}]


def _file(one: AttachedText) -> str:
    """A file as DeepSeek's own app gives it to the model (README of DeepSeek-R1)."""
    cut = f"\n[the file goes on: this is the first {one.share:.0%} of it]" if one.share < 1 else ""
    return f"[file name]: {one.name}\n[file content begin]\n{one.text}{cut}\n[file content end]\n"
