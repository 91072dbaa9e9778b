"""Turns as a tree: each names the one before it, and what is shown is one branch of it."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from mlx_deepseek.completion import Usage
from mlx_deepseek.prompts.tools import ToolCall

# "cut": the app ended while the reply was written
State = Literal["waiting", "writing", "done", "stopped", "length", "error", "cut"]


def new_id() -> str:
    """A name that no other turn or conversation has, in this process or another."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class Picture:
    """A picture that came with a message: a name and a data URL."""

    name: str
    url: str


@dataclass(frozen=True)
class Turn:
    """One user message or one reply; times in seconds, counts in tokens.

    `parent` is the id of the turn before it, "" at the beginning. Turns with the same parent are
    versions of each other. `calls` are what the reply asks tools for; the message after it is what
    they gave.
    """

    role: Literal["user", "assistant"]
    text: str = ""
    reasoning: str = ""
    state: State = "done"
    error: str = ""
    thinking_s: float | None = None
    usage: Any = None
    id: str = field(default_factory=new_id)
    parent: str = ""
    calls: tuple[ToolCall, ...] = ()
    pictures: tuple[Picture, ...] = ()

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


# All functions take the turns of every branch in the order they were made, parents first.


def branch(nodes: Sequence[Turn], tip: str) -> tuple[Turn, ...]:
    """The turns from the beginning to `tip`."""
    found = []
    for turn in reversed(nodes):
        if turn.id == tip:
            found.append(turn)
            tip = turn.parent
    return tuple(reversed(found))


def versions(nodes: Iterable[Turn], turn: Turn) -> list[str]:
    """The ids of the turns that stand where `turn` stands, itself among them, oldest first."""
    return [other.id for other in nodes if other.parent == turn.parent]


def newest_below(nodes: Iterable[Turn], turn_id: str) -> str:
    """The end of the branch that was made last through a turn; "" is the beginning."""
    newest = {turn.parent: turn.id for turn in nodes}
    while turn_id in newest:
        turn_id = newest[turn_id]
    return turn_id


def without(nodes: Iterable[Turn], question: Turn) -> tuple[Turn, ...]:
    """The tree without a message and the replies to it; what followed them moves up."""
    nodes = tuple(nodes)
    gone = {question.id, *(turn.id for turn in nodes if turn.parent == question.id)}
    return tuple(
        replace(turn, parent=question.parent) if turn.parent in gone else turn
        for turn in nodes
        if turn.id not in gone
    )


def without_version(nodes: Iterable[Turn], turn: Turn) -> tuple[Turn, ...]:
    """The tree without a turn and all that followed it."""
    gone, left = {turn.id}, []
    for other in nodes:
        if other.id in gone or other.parent in gone:
            gone.add(other.id)
        else:
            left.append(other)
    return tuple(left)


def is_tree(nodes: Iterable[Turn]) -> bool:
    """Whether ids are unique, parents come first, and messages and replies take turns."""
    role_of = {"": "assistant"}  # a conversation begins with a message
    for turn in nodes:
        if turn.id in role_of or role_of.get(turn.parent, turn.role) == turn.role:
            return False
        role_of[turn.id] = turn.role
    return True
