"""Conversations as files: Markdown to read, JSON to keep and to bring in again, checked.

What is brought in may also be an export of ChatGPT or of DeepSeek's own app.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from mlx_deepseek.errors import ImageError
from mlx_deepseek.vision.image_file import open_picture
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.messages import Message, Moment, is_tree, new_id
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.conversation.when import moment
from mlx_deepseek_app.storage import other_exports
from mlx_deepseek_app.storage.conversations import SavedConversation
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.titles import shortened

FORMAT, ALL = "mlx-deepseek conversation", "mlx-deepseek conversations"
VERSION = 1
BYTES_AT_MOST = 128 << 20
NAMED_AT_MOST = 3  # of the conversations that could not be read


@dataclass
class _File:
    """A file as `to_json` writes it."""

    format: str
    version: int
    title: str
    pinned: bool
    model: str
    settings: PanelSettings
    tip: str
    turns: list[Message]
    updated_s: Moment = 0.0
    folder: str = ""
    archived: bool = False


_FILE = TypeAdapter(_File)


def to_markdown(saved: SavedConversation) -> str:
    """The branch that is shown, to be read."""
    parts = [f"# {saved.title}"] + ([f"*{saved.model}*"] if saved.model else [])
    for message in saved.conversation.messages:
        when = f", {moment(message.written_s)}" if message.written_s else ""
        parts.append(("## You" if message.role == "user" else "## Reply") + when)
        if message.reasoning.strip():
            thought = message.reasoning.strip()
            parts.append(f"<details><summary>Thought</summary>\n\n{thought}\n\n</details>")
        if message.text.strip():
            parts.append(message.text.strip())
        parts.extend(f"*Picture: {picture.name}*" for picture in message.pictures)
        parts.extend(f"*File: {one.name}*" for one in message.texts)
        parts.extend(f"Calls `{call.name}`: `{call.arguments}`" for call in message.calls)
        if message.error:
            parts.append(f"*No answer: {message.error}*")
    return "\n\n".join(parts) + "\n"


def to_json(saved: SavedConversation) -> str:
    """Everything, all branches and settings included."""
    return json.dumps(_as_data(saved), ensure_ascii=False, indent=1)


def all_to_json(several: Iterable[SavedConversation]) -> str:
    """Many conversations in one file."""
    data = {"format": ALL, "version": VERSION, "conversations": [_as_data(one) for one in several]}
    return json.dumps(data, ensure_ascii=False, indent=1)


def _as_data(saved: SavedConversation) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": saved.title,
        "pinned": saved.pinned,
        "model": saved.model,
        "updated_s": saved.updated_s,
        "folder": saved.folder,
        "archived": saved.archived,
        "settings": asdict(saved.settings),
        "tip": saved.conversation.leaf,
        "turns": [_written(message) for message in saved.conversation.nodes],
    }


def read(text: str) -> tuple[list[SavedConversation], str]:
    """The conversations of a file, each as one of its own, and what of it could not be read.

    It is one that this app has written, with one conversation or all, or another app's export.

    Raises:
        StoreError: nothing of it could be read, saying what is wrong.
    """
    data = _json(text)
    several = other_exports.is_export(data)
    if isinstance(data, dict) and data.get("format") == ALL:
        _check_version(data)
        data, several = data.get("conversations"), True
        if not isinstance(data, list):
            raise StoreError(_wrong("conversations", "expected a list"))
    if not several:
        return [_conversation(data)], ""
    found, wrong = [], []
    for number, one in enumerate(data, 1):
        try:
            saved = other_exports.read(one) if "mapping" in one else _conversation(one)
            found += [saved] if saved else []
        except (StoreError, ValueError, TypeError, AttributeError) as error:
            wrong.append(f"conversation {number}: {error}")
    if not found:
        raise StoreError(wrong[0] if wrong else "There is no conversation in this file.")
    told = "; ".join(wrong[:NAMED_AT_MOST])
    return found, f"{len(wrong)} of {len(data)} could not be read: {told}" if wrong else ""


def from_json(text: str) -> SavedConversation:
    """What `to_json` wrote, as a conversation of its own.

    Raises:
        StoreError: anything else, saying what is wrong.
    """
    return _conversation(_json(text))


def _json(text: str) -> Any:
    if len(text) > BYTES_AT_MOST:
        raise StoreError(f"This file is larger than {BYTES_AT_MOST >> 20} MB.")
    if text.startswith("PK"):
        raise StoreError("This is a zip archive. Unpack it, and choose its conversations.json.")
    try:
        data = json.loads(text, parse_constant=_refuse)
        json.dumps(data, ensure_ascii=False).encode()  # escapes can spell what is not text
    except (ValueError, RecursionError) as error:
        raise StoreError(f"This is not a JSON file of a conversation ({error}).") from error
    return data


def _check_version(data: dict[str, Any]) -> None:
    if data.get("version") != VERSION:
        raise StoreError(
            f"This conversation has format version {data.get('version')!r}; this app reads "
            f"{VERSION}. Update mlx-deepseek."
        )


def _conversation(data: Any) -> SavedConversation:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise StoreError(
            "This JSON file is not a conversation. Expected one that this app has exported, or the "
            "conversations.json of ChatGPT or DeepSeek."
        )
    _check_version(data)
    try:
        file = _FILE.validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise StoreError(_explained(error)) from error
    nodes = tuple(map(_read, file.turns, range(1, len(file.turns) + 1)))
    if not nodes or not is_tree(nodes) or file.tip not in {message.id for message in nodes}:
        raise StoreError("The turns of this conversation do not follow each other.")
    conversation = Conversation(nodes, file.tip, new_id())
    title = shortened(file.title)
    return SavedConversation(
        *(conversation, file.settings, file.model, title, file.pinned, file.updated_s),
        *(shortened(file.folder), file.archived),
    )


def _written(message: Message) -> dict[str, Any]:
    """A turn without what is empty."""
    said = {field.name: getattr(message, field.name) for field in fields(Message)}
    said["usage"], said["written_s"] = message.counts, message.written_s or None
    for name in ("calls", "pictures", "texts"):
        said[name] = [asdict(one) for one in getattr(message, name)] or None
    return {name: value for name, value in said.items() if value not in ("", None)}


def _read(message: Message, number: int) -> Message:
    """A turn whose pictures are here, and which nobody goes on writing."""
    if not re.fullmatch(r"[\w-]{1,64}", message.id, re.ASCII):
        raise StoreError(_wrong(f"turn {number}", f"id is {message.id!r:.40}"))
    for picture in message.pictures:
        try:
            if not picture.url.startswith("data:"):  # nothing is read from elsewhere
                raise StoreError(_wrong(f"turn {number}", "a picture is no data URL"))
            open_picture(picture.url)
        except ImageError as error:
            raise StoreError(_wrong(f"turn {number}", str(error).rstrip("."))) from error
    return replace(message, state="cut") if message.running else message


def _explained(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False)[0]
    where, *names = (str(part + 1) if isinstance(part, int) else part for part in first["loc"])
    if where == "turns" and names:
        where, names = f"turn {names[0]}", names[1:]
    what = f"{'.'.join(names)} is {first['input']!r:.60}: " if names else ""
    return _wrong(where, what + first["msg"])


def _wrong(where: str, what: str) -> str:
    return f"This conversation cannot be brought in. In {where}: {what}."


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
