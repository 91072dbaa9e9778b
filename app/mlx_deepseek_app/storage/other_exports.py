"""Exports of ChatGPT and of DeepSeek's own app (`conversations.json`) as conversations.

Both are lists of trees: `mapping` holds nodes with `parent`, `children` and a `message`. ChatGPT's
messages have an author and `content.parts`; DeepSeek's have `fragments` of the types REQUEST, THINK
and RESPONSE. Older ones have `content` and `reasoning_content`: their place says whose they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.messages import LATEST_S, Message, new_id, newest_below
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.storage.conversations import SavedConversation
from mlx_deepseek_app.storage.titles import shortened

Role = Literal["user", "assistant"]
PICTURE = "[picture]"  # the file is not in the export


@dataclass
class _Said:
    role: Role | None
    text: str
    reasoning: str = ""

    @property
    def empty(self) -> bool:
        return not (self.text.strip() or self.reasoning.strip())


def is_export(data: Any) -> bool:
    """Whether this looks like such a file."""
    return isinstance(data, list) and all(
        isinstance(one, dict) and "mapping" in one for one in data
    )


def read(entry: dict[str, Any]) -> SavedConversation | None:
    """A conversation of the list; None where nothing was said in it.

    Raises:
        ValueError: it is no tree of messages.
    """
    mapping = entry["mapping"]
    if not isinstance(mapping, dict):
        raise ValueError("its mapping is no object")
    nodes: dict[str, Message] = {}
    here: dict[str, str] = {}  # by node of the file, the message that it is, or is part of
    model = ""
    for key, parent, node in _in_order(mapping):
        message = node.get("message")
        said, before = _said(message), nodes.get(here.get(parent, ""))
        model = _model(message) or model
        if said is None or said.empty:
            here[key] = here.get(parent, "")
            continue
        role: Role = said.role or ("assistant" if before and before.role == "user" else "user")
        if before is None and role == "assistant":  # begun by the other side
            before = _added(nodes, Message("user"))
        if before is None or before.role != role:
            came = Message(
                role, said.text, said.reasoning, parent=before.id if before else "",
                written_s=_written_s(message),
            )  # fmt: skip
            here[key] = _added(nodes, came).id
            continue
        joined = replace(before, text=_both(before.text, said.text),
                         reasoning=_both(before.reasoning, said.reasoning))  # fmt: skip
        if len(_children(mapping, parent)) > 1:  # another version of what was said so far
            joined = replace(joined, id=new_id())
        here[key] = _added(nodes, joined).id
    if not nodes:
        return None
    leaf = newest_below(nodes.values(), here.get(str(entry.get("current_node")), ""))
    conversation = Conversation(tuple(nodes.values()), leaf, new_id())
    title = shortened(str(entry.get("title") or ""))
    when = _seconds(entry.get("update_time") or entry.get("updated_at"))
    return SavedConversation(conversation, PanelSettings(), model, title, updated_s=when)


def _added(nodes: dict[str, Message], message: Message) -> Message:
    nodes[message.id] = message
    return message


def _both(first: str, second: str) -> str:
    return "\n\n".join(part for part in (first, second) if part.strip())


def _children(mapping: dict[str, Any], key: str) -> list[str]:
    return [name for name in mapping[key].get("children") or () if name in mapping]


def _in_order(mapping: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every node once with its key and its parent's, parents first, versions in their order."""
    if not all(isinstance(node, dict) for node in mapping.values()):
        raise ValueError("a node of its mapping is no object")
    waiting = [(key, "") for key, node in mapping.items() if node.get("parent") not in mapping]
    waiting.reverse()
    seen: set[str] = set()
    while waiting:
        key, parent = waiting.pop()
        if key in seen:
            raise ValueError("its messages go in a circle")
        seen.add(key)
        yield key, parent, mapping[key]
        waiting.extend((child, key) for child in reversed(_children(mapping, key)))
    if len(seen) < len(mapping):
        raise ValueError("its messages do not follow each other")


def _said(message: Any) -> _Said | None:
    """What a node says; None of what is no part of the conversation."""
    if message is None:
        return None
    if not isinstance(message, dict):
        raise ValueError("a message is no object")
    if "fragments" in message:
        return _fragments(message["fragments"] or [])
    if "author" not in message:  # DeepSeek's older exports
        return _Said(None, _text(message.get("content")), _text(message.get("reasoning_content")))
    role = (message["author"] or {}).get("role")
    metadata, content = message.get("metadata") or {}, message.get("content") or {}
    if role not in ("user", "assistant") or metadata.get("is_visually_hidden_from_conversation"):
        return None
    if message.get("recipient") not in (None, "all"):  # a call of a tool
        return None
    if thoughts := content.get("thoughts"):
        return _Said(role, "", "\n\n".join(_text(one.get("content")) for one in thoughts))
    parts = content.get("parts") or [content.get("text")]
    words = [
        PICTURE if isinstance(part, dict) and "asset_pointer" in part else part for part in parts
    ]
    return _Said(role, "\n\n".join(part for part in words if isinstance(part, str) and part))


def _fragments(fragments: list[Any]) -> _Said:
    by_kind: dict[str, list[str]] = {}
    for one in fragments:
        if not isinstance(one, dict):
            raise ValueError("a fragment of a message is no object")
        by_kind.setdefault(str(one.get("type")), []).append(_text(one.get("content")))
    asked, thought, answered = (
        "\n\n".join(by_kind.get(kind, ())) for kind in ("REQUEST", "THINK", "RESPONSE")
    )
    return _Said("user" if asked else "assistant", asked or answered, thought)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _model(message: Any) -> str:
    if not isinstance(message, dict):
        return ""
    return _text(message.get("model")) or _text((message.get("metadata") or {}).get("model_slug"))


def _written_s(message: Any) -> float:
    if not isinstance(message, dict):
        return 0.0
    return _seconds(message.get("create_time") or message.get("inserted_at"))


def _seconds(value: Any) -> float:
    """Seconds since 1970 of a number or an ISO date; 0 of nothing else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    else:
        try:
            found = datetime.fromisoformat(_text(value)).timestamp()
        except (ValueError, OverflowError, OSError):
            return 0.0
    return found if 0 <= found <= LATEST_S else 0.0
