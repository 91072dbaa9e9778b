"""Conversations as files: Markdown to read, JSON to keep and to bring in again, checked."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, NoReturn, get_args

from mlx_deepseek.completion import Usage
from mlx_deepseek.errors import ImageError
from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek.vision.pictures import open_picture
from mlx_deepseek_app.conversations import Kept, shortened
from mlx_deepseek_app.database import StoreError
from mlx_deepseek_app.session import LARGEST_SEED, Conversation, Settings
from mlx_deepseek_app.turns import Picture, State, Turn, is_tree, new_id

FORMAT = "mlx-deepseek conversation"
VERSION = 1
BYTES_AT_MOST = 32 << 20
# what the settings panel can show; None where that is a value too
RANGES = {
    "temperature": (0, 2),
    "top_p": (0.05, 1),
    "top_k": (0, 200),
    "max_tokens": (1, 2**31),
    "seed": (0, LARGEST_SEED),
}
WHOLE = ("top_k", "max_tokens", "seed")


def to_markdown(kept: Kept) -> str:
    """The branch that is shown, to be read."""
    parts = [f"# {kept.title}"] + ([f"*{kept.model}*"] if kept.model else [])
    for turn in kept.conversation.turns:
        parts.append("## You" if turn.role == "user" else "## Reply")
        if turn.reasoning.strip():
            thought = turn.reasoning.strip()
            parts.append(f"<details><summary>Thought</summary>\n\n{thought}\n\n</details>")
        if turn.text.strip():
            parts.append(turn.text.strip())
        parts.extend(f"*Picture: {picture.name}*" for picture in turn.pictures)
        parts.extend(f"Calls `{call.name}`: `{call.arguments}`" for call in turn.calls)
        if turn.error:
            parts.append(f"*No answer: {turn.error}*")
    return "\n\n".join(parts) + "\n"


def to_json(kept: Kept) -> str:
    """Everything, all branches and settings included."""
    data = {
        "format": FORMAT,
        "version": VERSION,
        "title": kept.title,
        "pinned": kept.pinned,
        "model": kept.model,
        "settings": asdict(kept.settings),
        "tip": kept.conversation.tip,
        "turns": [_written(turn) for turn in kept.conversation.nodes],
    }
    return json.dumps(data, ensure_ascii=False, indent=1)


def from_json(text: str) -> Kept:
    """What `to_json` wrote, as a conversation of its own.

    Raises:
        StoreError: anything else, saying what is wrong.
    """
    if len(text) > BYTES_AT_MOST:
        raise StoreError(f"This file is larger than {BYTES_AT_MOST >> 20} MB.")
    try:
        data = json.loads(text, parse_constant=_refuse)
        json.dumps(data, ensure_ascii=False).encode()  # escapes can spell what is not text
    except (ValueError, RecursionError) as error:
        raise StoreError(f"This is not a JSON file of a conversation ({error}).") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise StoreError(
            "This JSON file is not a conversation. Expected one that this app has exported."
        )
    if data.get("version") != VERSION:
        raise StoreError(
            f"This conversation has format version {data.get('version')!r}; this app reads "
            f"{VERSION}. Update mlx-deepseek."
        )
    rows = _field(data, "turns", list, "the file")
    nodes = tuple(_read(row, f"turn {number}") for number, row in enumerate(rows, 1))
    tip = _field(data, "tip", str, "the file")
    if not nodes or not is_tree(nodes) or tip not in {turn.id for turn in nodes}:
        raise StoreError("The turns of this conversation do not follow each other.")
    settings = _settings(_field(data, "settings", dict, "the file"))
    title = shortened(_field(data, "title", str, "the file"))
    model = _field(data, "model", str, "the file")
    pinned = _field(data, "pinned", bool, "the file")
    return Kept(Conversation(nodes, tip, new_id()), settings, model, title, pinned)


def _written(turn: Turn) -> dict[str, Any]:
    """A turn without what is empty."""
    said = {field.name: getattr(turn, field.name) for field in fields(Turn)}
    said["usage"] = turn.counts
    for name, several in (("calls", turn.calls), ("pictures", turn.pictures)):
        said[name] = [asdict(one) for one in several] or None
    return {name: value for name, value in said.items() if value not in ("", None)}


def _read(row: Any, where: str) -> Turn:
    if not isinstance(row, dict):
        _wrong(where, "expected an object")
    role: Any = row.get("role")
    state: Any = row.get("state")
    if role not in ("user", "assistant"):
        _wrong(where, f"role is {role!r:.40}; expected user or assistant")
    if state not in get_args(State):
        _wrong(where, f"state is {state!r:.40}; expected one of {', '.join(get_args(State))}")
    texts = {
        name: _field(row, name, str, where)
        for name in ("text", "reasoning", "error", "parent")
        if name in row
    }
    key = _field(row, "id", str, where)
    if not re.fullmatch(r"[\w-]{1,64}", key, re.ASCII):
        _wrong(where, f"id is {key!r:.40}; expected letters and digits")
    turn = Turn(role, state=state, id=key, **texts)
    if "thinking_s" in row:
        turn = replace(turn, thinking_s=_number(row, "thinking_s", where, 0, math.inf))
    if "usage" in row:
        counts = _field(row, "usage", dict, where)
        names = [field.name for field in fields(Usage) if field.name in counts]
        usage: dict[str, Any] = {name: _number(counts, name, where, 0, 2**53) for name in names}
        turn = replace(turn, usage=Usage(**usage))
    if "calls" in row:
        calls = _field(row, "calls", list, where)
        turn = replace(turn, calls=tuple(_call(call, where) for call in calls))
    if "pictures" in row:
        pictures = _field(row, "pictures", list, where)
        turn = replace(turn, pictures=tuple(_picture(picture, where) for picture in pictures))
    # nobody goes on writing it
    return replace(turn, state="cut") if turn.running else turn


def _call(data: Any, where: str) -> ToolCall:
    if not isinstance(data, dict):
        _wrong(where, "a tool call is no object")
    return ToolCall(*(_field(data, name, str, where) for name in ("name", "arguments")))


def _picture(data: Any, where: str) -> Picture:
    if not isinstance(data, dict):
        _wrong(where, "a picture is no object")
    picture = Picture(*(_field(data, name, str, where) for name in ("name", "url")))
    try:
        if picture.url.startswith("data:"):  # nothing is read from elsewhere
            open_picture(picture.url)
            return picture
    except ImageError as error:
        _wrong(where, str(error).rstrip("."))
    _wrong(where, "a picture is no data URL")


def _settings(data: Mapping[str, Any]) -> Settings:
    where = "settings"
    values: dict[str, Any] = {}
    for name in ("system", "schema", "tools"):
        if name in data:
            values[name] = _field(data, name, str, where)
    for name in ("thinking", "json_answer"):
        if data.get(name) is not None:
            values[name] = _field(data, name, bool, where)
    for name, (low, high) in RANGES.items():
        if data.get(name) is not None:
            value = _number(data, name, where, low, high)
            values[name] = int(value) if name in WHOLE else value
    return Settings(**values)


def _field(data: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        _wrong(where, f"{name} is {value!r:.40}; expected {kind.__name__}")
    return value


def _number(data: Mapping[str, Any], name: str, where: str, low: float, high: float) -> float:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        _wrong(where, f"{name} is {value!r:.40}; expected a number from {low} to {high}")
    return value


def _wrong(where: str, what: str) -> NoReturn:
    raise StoreError(f"This conversation cannot be brought in. In {where}: {what}.")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
