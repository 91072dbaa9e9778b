"""The list of conversations as HTML. All text escaped."""

import re
from collections.abc import Iterable
from datetime import date

from mlx_deepseek_app.conversation.when import moment, short
from mlx_deepseek_app.storage.listing import ConversationSummary
from mlx_deepseek_app.widgets.icons import icon
from mlx_deepseek_app.widgets.markdown import escaped

SHOWN_AT_MOST = 300
ACTS = (
    ("rename", "Rename"),
    ("pin", "Pin"),
    ("move", "Move to folder"),
    ("copy", "Duplicate"),
    ("archive", "Archive"),
    ("md", "Export Markdown"),
    ("json", "Export JSON"),
    ("delete", "Delete"),
)
FOLDER_ACTS = (("rename", "Rename"), ("unfolder", "Remove folder"))
PINNED, TODAY, EARLIER, ARCHIVED = "Pinned", "Today", "Earlier", "Archived"


def list_html(entries: list[ConversationSummary], current: str, query: str = "") -> str:
    """The conversations by group, folders among them; titles are shown and do nothing else.

    `current` is the id of the one that is open, "" for a new one.
    """
    open_now = f'<div data-open="{escaped(current)}"></div>' if current else ""
    words = query.split()
    if not entries:
        none = "Nothing found" if words else "No conversations yet"
        return f'{open_now}<p class="none">{none}</p>'
    parts: dict[tuple[int, str], list[str]] = {}
    for entry in entries[:SHOWN_AT_MOST]:
        parts.setdefault(_group(entry), []).append(_line(entry, entry.id == current, words))
    html = "".join(_section(*group, lines, bool(words)) for group, lines in sorted(parts.items()))
    if len(entries) > SHOWN_AT_MOST:
        html += f'<p class="none">{len(entries) - SHOWN_AT_MOST:,} more: search finds them</p>'
    searched = " data-searched" if words else ""
    return f'{open_now}<nav aria-label="Conversations"{searched}>{html}</nav>'


def marked(text: str, words: Iterable[str]) -> str:
    """A text with these words marked."""
    wanted = "|".join(map(re.escape, words))
    pieces = re.split(f"({wanted})", text, flags=re.IGNORECASE) if wanted else [text]
    return "".join(
        f"<mark>{escaped(piece)}</mark>" if at % 2 else escaped(piece)
        for at, piece in enumerate(pieces)
    )


def _group(entry: ConversationSummary) -> tuple[int, str]:
    """Where a conversation stands: sections in order, folders by name."""
    if entry.archived:
        return 4, ARCHIVED
    if entry.pinned:
        return 0, PINNED
    if entry.folder:
        return 1, entry.folder
    today = date.fromtimestamp(entry.updated_s) == date.today()
    return (2, TODAY) if today else (3, EARLIER)


def _section(rank: int, name: str, lines: list[str], searched: bool) -> str:
    html = "".join(lines)
    if name == ARCHIVED and rank == 4:
        return _fold("archived", "archive", f"<span>{name}</span>", html, searched)
    if rank != 1:
        return f"<h3>{name}</h3><ul>{html}</ul>"
    title = escaped(name)
    head = f'<span class="name title">{title}</span>'
    menu = _menu(f"folder-{title}", title, FOLDER_ACTS)
    return _fold(f"folder:{title}", "folder", head, html, True, menu, f' data-folder="{title}"')


def _fold(
    key: str, drawn: str, head: str, lines: str, shown: bool, menu: str = "", more: str = ""
) -> str:
    """A section whose list folds; the script keeps which do."""
    return (
        f'<section data-fold="{key}"{more}><div class="head"><h3><button type="button" '
        f'data-act="fold" aria-expanded="{str(shown).lower()}">{icon(drawn)}{head}'
        f"{icon('chevron-down')}</button></h3>{menu}</div>"
        f"<ul{'' if shown else ' hidden'}>{lines}</ul></section>"
    )


def _line(entry: ConversationSummary, current: bool, words: list[str]) -> str:
    title, when = escaped(entry.title), moment(entry.updated_s)
    found = f"<small>{marked(entry.snippet, words)}</small>" if entry.snippet else ""
    flags = " data-pinned" if entry.pinned else ""
    flags += f' data-in-folder="{escaped(entry.folder)}"' if entry.folder else ""
    acts = [one for one in ACTS if not (entry.archived and one[0] in ("pin", "move"))]
    menu = _menu(f"acts-{escaped(entry.id)}", title, [_now(one, entry) for one in acts])
    return (
        f'<li data-id="{escaped(entry.id)}"{flags}>'
        f'<button type="button" data-act="open" title="{title}, {escaped(entry.model)}, {when}"'
        f"{' aria-current=page' if current else ''}>"
        f'<span class="title">{marked(entry.title, words)}</span>{found}</button>'
        f"<time>{short(entry.updated_s)}</time>{menu}</li>"
    )


def _menu(key: str, title: str, acts: Iterable[tuple[str, ...]]) -> str:
    """The button of a menu, and the menu; an act's third part is its value."""
    lines = "".join(
        f'<button type="button" data-act="{act}" data-value="{"".join(value)}" '
        f'aria-label="{label} {title}">{label}</button>'
        for act, label, *value in acts
    )
    return (
        f'<button type="button" data-act="more" aria-expanded="false" popovertarget="{key}" '
        f'aria-label="More for {title}">⋯</button>'
        f'<div class="acts" id="{key}" popover>{lines}</div>'
    )


def _now(act: tuple[str, str], entry: ConversationSummary) -> tuple[str, ...]:
    """What an act does to a conversation as it is: what is pinned or archived is so no longer."""
    name, label = act
    if name == "pin":
        return (name, "Unpin", "") if entry.pinned else (name, label, "1")
    if name == "archive":
        return (name, "Take out of the archive", "") if entry.archived else (name, label, "1")
    return act
