"""The list of conversations as HTML. All text escaped."""

from collections.abc import Iterable
from datetime import date
from itertools import groupby

from mlx_deepseek_app.storage.conversations import ConversationSummary
from mlx_deepseek_app.widgets.markdown import escaped

SHOWN_AT_MOST = 300
ACTS = (
    ("rename", "Rename"),
    ("pin", "Pin"),
    ("md", "Export Markdown"),
    ("json", "Export JSON"),
    ("delete", "Delete"),
)


def list_html(entries: list[ConversationSummary], current: str, searched: bool) -> str:
    """The conversations by group; titles are shown and do nothing else.

    `current` is the id of the one that is open, "" for a new one.
    """
    open_now = f'<div data-open="{escaped(current)}"></div>' if current else ""
    if not entries:
        none = "Nothing found" if searched else "No conversations yet"
        return f'{open_now}<p class="none">{none}</p>'
    groups = groupby(entries[:SHOWN_AT_MOST], key=_group)
    html = "".join(_section(name, group, current) for name, group in groups)
    if len(entries) > SHOWN_AT_MOST:
        html += f'<p class="none">{len(entries) - SHOWN_AT_MOST:,} more: search finds them</p>'
    return f'{open_now}<nav aria-label="Conversations">{html}</nav>'


def _group(entry: ConversationSummary) -> str:
    if entry.pinned:
        return "Pinned"
    return "Today" if date.fromtimestamp(entry.updated_s) == date.today() else "Earlier"


def _section(name: str, entries: Iterable[ConversationSummary], current: str) -> str:
    lines = "".join(_line(entry, entry.id == current) for entry in entries)
    return f"<h3>{name}</h3><ul>{lines}</ul>"


def _line(entry: ConversationSummary, current: bool) -> str:
    title = escaped(entry.title)
    model = escaped(entry.model)
    acts = "".join(
        f'<button type="button" data-act="{act}" aria-label="{_named(act, label, entry)} {title}">'
        f"{_named(act, label, entry)}</button>"
        for act, label in ACTS
    )
    return (
        f'<li data-id="{escaped(entry.id)}"{" data-pinned" if entry.pinned else ""}>'
        f'<button type="button" data-act="open" title="{title}, {model}"'
        f"{' aria-current=page' if current else ''}><span>{title}</span></button>"
        f'<button type="button" data-act="more" aria-expanded="false" '
        f'aria-label="More for {title}">⋯</button><div class="acts" hidden>{acts}</div></li>'
    )


def _named(act: str, label: str, entry: ConversationSummary) -> str:
    return "Unpin" if act == "pin" and entry.pinned else label
