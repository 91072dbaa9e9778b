"""The list of conversations as HTML. All text escaped."""

import re
from collections.abc import Iterable
from datetime import date

from mlx_deepseek_app.conversation.when import moment, short
from mlx_deepseek_app.storage.listing import ConversationSummary
from mlx_deepseek_app.widgets.icons import icon
from mlx_deepseek_app.widgets.markdown import escaped

SHOWN_AT_MOST = 300
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
    groups = enumerate(sorted(parts.items()))
    html = "".join(_section(*group, lines, bool(words), at) for at, (group, lines) in groups)
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


def _section(rank: int, name: str, lines: list[str], searched: bool, at: int) -> str:
    html = "".join(lines)
    if name == ARCHIVED and rank == 4:
        return _fold("archived", "archive", f"<span>{name}</span>", html, searched)
    if rank != 1:
        return f"<h3>{name}</h3><ul>{html}</ul>"
    title = escaped(name)
    head = f'<span class="name title">{title}</span>'
    menu = _menu(f"folder-{at}", title)
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
    flags += " data-archived" if entry.archived else ""
    menu = _menu(f"acts-{escaped(entry.id)}", title)
    return (
        f'<li data-id="{escaped(entry.id)}"{flags}>'
        f'<button type="button" data-act="open" title="{title}, {escaped(entry.model)}, {when}"'
        f"{' aria-current=page' if current else ''}>"
        f'<span class="title">{marked(entry.title, words)}</span>{found}</button>'
        f"<time>{short(entry.updated_s)}</time>{menu}</li>"
    )


def _menu(key: str, title: str) -> str:
    """The button of a menu, and the menu, which the script fills when it opens."""
    return (
        f'<button type="button" data-act="more" aria-expanded="false" popovertarget="{key}" '
        f'aria-label="More for {title}">⋯</button><div class="acts" id="{key}" popover></div>'
    )
