"""Turns as a tree: each names the one before it, and what is shown is one branch of it."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Literal

from annotated_types import Ge, Le

from mlx_deepseek.generation.results import Usage
from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.conversation.settings import PanelSettings

LATEST_S = 2.5e11  # in the year 9892
Moment = Annotated[float, Ge(0), Le(LATEST_S)]  # seconds since 1970
# "cut": the app ended while the reply was written
State = Literal["waiting", "writing", "done", "stopped", "length", "error", "cut"]


def new_id() -> str:
    """A name that no other turn or conversation has, in this process or another."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class AttachedPicture:
    """A picture that came with a message: a name and a data URL."""

    name: str
    url: str


@dataclass(frozen=True)
class AttachedText:
    """A text that came with a message, or the beginning of it: `share` of the whole."""

    name: str
    text: str
    share: float = 1.0


Attached = AttachedPicture | AttachedText


@dataclass(frozen=True)
class Message:
    """One user message or one reply; times in seconds, counts in tokens.

    `written_s` is when it was begun, since 1970; 0 where nobody knows.

    `parent` is the id of the message before it, "" at the beginning. Those with the same parent are
    versions of each other. `calls` are what the reply asks tools for; the message after it is what
    they gave.
    """

    role: Literal["user", "assistant"]
    text: str = ""
    reasoning: str = ""
    state: State = "done"
    error: str = ""
    thinking_s: float | None = None
    usage: Usage | None = None
    id: str = field(default_factory=new_id)
    parent: str = ""
    calls: tuple[ToolCall, ...] = ()
    pictures: tuple[AttachedPicture, ...] = ()
    texts: tuple[AttachedText, ...] = ()
    written_s: Moment = 0.0

    @property
    def attached(self) -> tuple[Attached, ...]:
        """All that came with it."""
        return (*self.texts, *self.pictures)

    @property
    def running(self) -> bool:
        """Whether the reply is still being made."""
        return self.state in ("waiting", "writing")

    @property
    def unfinished(self) -> bool:
        """Whether this is a reply that ended before its end, with something to go on from."""
        begun = bool(self.text.strip() or self.reasoning.strip())
        return begun and self.state in ("stopped", "length", "error", "cut")

    @property
    def counts(self) -> dict[str, float] | None:
        """What the reply cost, by the names of `Usage`."""
        if self.usage is None:
            return None
        return {count.name: getattr(self.usage, count.name, 0) for count in fields(Usage)}


@dataclass(frozen=True)
class Queued:
    """A message that is sent when the reply before it is there."""

    text: str
    attached: tuple[Attached, ...]
    settings: PanelSettings
    id: str = field(default_factory=new_id)


# All functions take the messages of every branch in the order they were made, parents first.


def branch(nodes: Sequence[Message], leaf: str) -> tuple[Message, ...]:
    """The messages from the beginning to `leaf`."""
    found = []
    for message in reversed(nodes):
        if message.id == leaf:
            found.append(message)
            leaf = message.parent
    return tuple(reversed(found))


def versions(nodes: Iterable[Message], message: Message) -> list[str]:
    """The ids of the messages that stand where `turn` stands, itself among them, oldest first."""
    return [other.id for other in nodes if other.parent == message.parent]


def newest_below(nodes: Iterable[Message], turn_id: str) -> str:
    """The end of the branch that was made last through a turn; "" is the beginning."""
    newest = {message.parent: message.id for message in nodes}
    while turn_id in newest:
        turn_id = newest[turn_id]
    return turn_id


def without(nodes: Iterable[Message], question: Message) -> tuple[Message, ...]:
    """The tree without a message and the replies to it; what followed them moves up."""
    nodes = tuple(nodes)
    gone = {question.id, *(message.id for message in nodes if message.parent == question.id)}
    return tuple(
        replace(message, parent=question.parent) if message.parent in gone else message
        for message in nodes
        if message.id not in gone
    )


def without_version(nodes: Iterable[Message], message: Message) -> tuple[Message, ...]:
    """The tree without a turn and all that followed it."""
    gone, left = {message.id}, []
    for other in nodes:
        if other.id in gone or other.parent in gone:
            gone.add(other.id)
        else:
            left.append(other)
    return tuple(left)


def is_tree(nodes: Iterable[Message]) -> bool:
    """Whether ids are unique, parents come first, and messages and replies take turns."""
    role_of = {"": "assistant"}  # a conversation begins with a message
    for message in nodes:
        if message.id in role_of or role_of.get(message.parent, message.role) == message.role:
            return False
        role_of[message.id] = message.role
    return True
