"""The fixed parts of the column and of pages: brand, links, foot, heads; `shell.js` moves them."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from mlx_deepseek_app.widgets.icons import STATIC, data_url, icon

LOGO = f'<img class="logo" alt="" src="{data_url((STATIC / "icon.svg").read_text("utf-8"))}">'


@dataclass(frozen=True)
class PageName:
    """A page of the app: `key` is its address (`#models`) and its tab's id (`page-models`)."""

    key: str
    name: str
    icon: str


def brand_html() -> str:
    """Icon and name, and the button that makes the column narrow."""
    return (
        f'<a class="brand" href="#chat" aria-label="mlx-deepseek">{LOGO}<b>mlx-deepseek</b></a>'
        f"{_button('sidebar-button', 'panel-left', 'Narrow the column')}"
    )


def bar_html() -> str:
    """The one line at the top of a phone, where the column is a drawer."""
    return (
        f"{_button('drawer-button', 'menu', 'Open the column')}"
        f'<b class="brand">{LOGO}<span>mlx-deepseek</span></b>'
        f'<a id="bar-new" href="#chat" aria-label="New chat" title="New chat">'
        f'{icon("square-pen")}</a><div class="loads" data-loads></div>'
    )


def nav_html(pages: Iterable[PageName]) -> str:
    """Links to pages; the script marks the one that is open."""
    links = "".join(
        f'<li><a href="#{page.key}" data-page="{page.key}" title="{escape(page.name)}">'
        f"{icon(page.icon)}<span>{escape(page.name)}</span></a></li>"
        for page in pages
    )
    return f'<nav aria-label="Pages"><ul>{links}</ul></nav>'


def foot_html() -> str:
    """Settings, theme and language."""
    return (
        '<button type="button" id="settings-button" aria-expanded="false" title="Settings">'
        f"{icon('sliders-horizontal')}<span>Settings</span></button>"
        f"{_button('theme-button', 'monitor', 'Theme of the system')}"
        f'<button type="button" id="language-button">中文</button>'
    )


def head_html(name: str, about: str) -> str:
    """What every page but the chat begins with: its name, and what it is for."""
    return f"<h2>{escape(name)}</h2><p>{escape(about)}</p>"


def chips_html(texts: Iterable[str]) -> str:
    """Examples to press."""
    chips = "".join(
        f'<button type="button" data-text="{escape(text)}">{escape(text)}</button>'
        for text in texts
    )
    return f"<span>Examples</span>{chips}"


def _button(name: str, drawn: str, label: str) -> str:
    return (
        f'<button type="button" id="{name}" aria-label="{label}" title="{label}">'
        f"{icon(drawn)}</button>"
    )
