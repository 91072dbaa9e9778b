"""The list of conversations and the tools of messages, as the page gets them. All text escaped."""

import json
from collections.abc import Iterable
from datetime import date
from html import escape
from itertools import groupby
from typing import Any

from mlx_deepseek_app.conversations import Entry
from mlx_deepseek_app.session import Conversation
from mlx_deepseek_app.text import user_markdown

SHOWN_AT_MOST = 300
ACTS = (
    ("rename", "Rename"),
    ("pin", "Pin"),
    ("md", "Export Markdown"),
    ("json", "Export JSON"),
    ("delete", "Delete"),
)


def alert(text: str) -> str:
    """A message that readers of the screen hear at once."""
    return f'<p role="alert">{escape(text)}</p>' if text else ""


def turns_json(conversation: Conversation) -> str:
    """For each message that is shown: its turn, its version, and how many there are.

    Replies come with their text, to be edited, once there is no other being made.
    """
    shown = conversation.turns
    busy = bool(shown) and shown[-1].running
    tools: list[dict[str, Any]] = []
    for index, turn in enumerate(shown):
        user = turn.role == "user"
        tools.append({"id": turn.id, "user": user, "version": conversation.version(index)})
        if not user and not busy and turn.text.strip():
            tools[-1]["text"] = turn.text.strip()
    return json.dumps(tools).replace("<", "\\u003c")  # gradio warns of tags in what it carries


def list_html(entries: list[Entry], current: str, searched: bool) -> str:
    """The conversations by group; titles are shown and do nothing else."""
    if not entries:
        return f'<p class="none">{"Nothing found" if searched else "No conversations yet"}</p>'
    groups = groupby(entries[:SHOWN_AT_MOST], key=_group)
    html = "".join(_section(name, group, current) for name, group in groups)
    if len(entries) > SHOWN_AT_MOST:
        html += f'<p class="none">{len(entries) - SHOWN_AT_MOST:,} more: search finds them</p>'
    return f'<nav aria-label="Conversations">{html}</nav>'


def _group(entry: Entry) -> str:
    if entry.pinned:
        return "Pinned"
    return "Today" if date.fromtimestamp(entry.updated_s) == date.today() else "Earlier"


def _section(name: str, entries: Iterable[Entry], current: str) -> str:
    lines = "".join(_line(entry, entry.id == current) for entry in entries)
    return f"<h3>{name}</h3><ul>{lines}</ul>"


def _line(entry: Entry, current: bool) -> str:
    title = user_markdown(entry.title)  # entities: no template of gradio's sees a bracket
    model = user_markdown(entry.model)
    acts = "".join(
        f'<button type="button" data-act="{act}" aria-label="{_named(act, label, entry)} {title}">'
        f"{_named(act, label, entry)}</button>"
        for act, label in ACTS
    )
    return (
        f'<li data-id="{escape(entry.id)}"{" data-pinned" if entry.pinned else ""}>'
        f'<button type="button" data-act="open" title="{title}, {model}"'
        f"{' aria-current=page' if current else ''}><span>{title}</span></button>"
        f'<button type="button" data-act="more" aria-expanded="false" '
        f'aria-label="More for {title}">⋯</button><div class="acts" hidden>{acts}</div></li>'
    )


def _named(act: str, label: str, entry: Entry) -> str:
    return "Unpin" if act == "pin" and entry.pinned else label
