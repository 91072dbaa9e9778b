"""The list of conversations: its HTML, and what its menus do in a real browser."""

import re
from datetime import date, datetime

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.chat.sidebar_html import list_html, marked
from mlx_deepseek_app.conversation.when import moment, short
from mlx_deepseek_app.storage.listing import ConversationSummary
from tests.app.test_browser import ANSWER, ASKED, ask, idle

LINES = "#conversations li"


def test_times_say_as_much_as_is_needed():
    def seconds(*when):
        return datetime(*when).timestamp()

    today = date(2026, 3, 1)
    assert short(seconds(2026, 3, 1, 9, 5), today) == "09:05"
    assert short(seconds(2026, 2, 28, 23, 59), today) == "Yesterday"
    assert short(seconds(2026, 1, 7), today) == "7 Jan"
    assert short(seconds(2025, 12, 31), today) == "2025-12-31"
    assert moment(seconds(2025, 12, 31, 8, 0)) == "2025-12-31 08:00"


def test_what_was_searched_for_is_marked_and_nothing_of_it_is_html():
    assert marked("A <b> Zebra a+", ["zebra", "a+"]) == (
        "A &lt;b&gt; <mark>Zebra</mark> <mark>a+</mark>"
    )
    assert marked("plain", []) == "plain"


def test_groups_come_in_order_and_the_archive_is_folded_until_one_searches():
    def entry(name, **more):
        return ConversationSummary(name, name, more.pop("pinned", False), "nano", 0.0, **more)

    entries = [
        entry("old"), entry("b", folder='"B"'), entry("a", folder="a<"),
        entry("up", pinned=True, folder="a<"), entry("gone", archived=True, pinned=True),
    ]  # fmt: skip
    html = list_html(entries, "")
    order = [html.index(f'data-id="{name}"') for name in ("up", "b", "a", "old", "gone")]
    assert order == sorted(order)
    assert "<ul hidden>" in html
    assert 'data-folder="a&lt;"' in html
    assert "<ul hidden>" not in list_html(entries, "", "o")


def menu(page, title, act):
    """Press a line of a menu, which stands above everything."""
    page.get_by_label(f"More for {title}", exact=True).click()
    page.locator(".acts:popover-open").get_by_role("button", name=act).click()


@pytest.mark.browser
def test_search_times_copies_and_branches(site, open_page):
    page = open_page(site)
    ask(page, "say: the zebra lives in dry country")
    idle(page)
    expect(page.locator(f"{LINES} time")).to_have_text(re.compile(r"^\d\d:\d\d$"))
    expect(page.locator(".message-tools time")).to_have_count(2)
    ask(page, "say: second")
    idle(page)
    search = page.get_by_label("Search conversations")
    search.fill("dry ZEBRA")
    expect(page.locator(f"{LINES} small")).to_contain_text("the zebra lives in dry country")
    assert page.locator(f"{LINES} small mark").all_text_contents() == ["zebra", "dry"]
    page.get_by_role("button", name="Clear the search").click()
    expect(page.locator(f"{LINES} small")).to_have_count(0)
    expect(page.get_by_role("button", name="Clear the search")).to_be_hidden()
    search.fill("nothing like it")
    expect(page.locator("#conversations")).to_contain_text("Nothing found")
    search.press("Escape")
    expect(page.locator(LINES)).to_have_count(1)
    # a branch has what stands before it, and nothing else
    page.get_by_label("Branch off here into a new chat").first.click(force=True)
    expect(page.locator(ASKED)).to_have_count(1)
    expect(page.locator(LINES)).to_have_count(2)
    title = "say: the zebra lives in dry country"
    expect(page.locator(f"{LINES} [aria-current=page]")).to_have_text(f"{title} (2)")
    ask(page, "say: another way")
    idle(page)
    expect(page.locator(ANSWER).last).to_have_text("another way")
    menu(page, title, "Duplicate")
    expect(page.locator(f"{LINES} [aria-current=page]")).to_have_text(f"{title} (3)")
    expect(page.locator(ANSWER).last).to_have_text("second")


@pytest.mark.browser
def test_folders_and_the_archive(site, open_page):
    page = open_page(site)
    for text in ("one", "two", "three"):
        page.locator("#new-button").click()
        expect(page.locator(ASKED)).to_have_count(0)
        ask(page, f"say: {text}")
        idle(page)
    menu(page, "say: one", "Move to folder")
    page.get_by_role("button", name="New folder").click()
    page.get_by_label("Name of the folder").fill("Work")
    page.keyboard.press("Enter")
    section = page.locator("section[data-folder=Work]")
    expect(section.locator("li")).to_have_text(re.compile("say: one"))
    menu(page, "say: two", "Move to folder")
    page.get_by_role("button", name="Work", exact=True).last.click()
    expect(section.locator("li")).to_have_count(2)
    fold = section.locator("[data-act=fold]")
    fold.click()
    expect(section.locator("li").first).to_be_hidden()
    menu(page, "say: three", "Archive")  # the list is drawn anew, and the folder stays folded
    archive = page.locator("section[data-fold=archived]")
    expect(archive.locator("li")).to_be_hidden()
    expect(fold).to_have_attribute("aria-expanded", "false")
    page.get_by_label("Search conversations").fill("three")
    expect(archive.locator("li")).to_be_visible()
    page.get_by_label("Search conversations").fill("")
    expect(section).to_be_attached()
    archive.locator("[data-act=fold]").click()
    menu(page, "say: three", "Take out of the archive")
    expect(archive).to_have_count(0)
    menu(page, "Work", "Rename")
    page.get_by_label("New title of Work").fill("Play")
    page.keyboard.press("Enter")
    expect(page.locator("section[data-folder=Play] li")).to_have_count(2)
    menu(page, "Play", "Remove folder")
    expect(page.locator("section[data-folder]")).to_have_count(0)
    expect(page.locator(LINES)).to_have_count(3)
    # by the keyboard: arrows walk through a menu, Esc leaves it and gives the focus back
    more = page.get_by_label("More for say: two", exact=True)
    more.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Rename say: two")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Delete say: two")).to_be_focused()
    page.keyboard.press("Escape")
    expect(more).to_be_focused()
    expect(page.locator(".acts:popover-open")).to_have_count(0)
