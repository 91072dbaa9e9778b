"""Conversations beside the chat, in a real browser."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.command import serve
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.storage.conversations import conversations_of
from mlx_deepseek_app.storage.store import Store
from tests.app import scripted
from tests.app.conversation.test_conversation import answered
from tests.app.test_browser import ANSWER, ASKED, ask, idle

pytestmark = pytest.mark.browser

LINES = "#conversations li"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def kept_site(folder):
    served = serve(lambda source, **options: scripted.load(source), "scripted", data=folder)
    yield served
    served.close()


def more(page, title, act):
    """Press a button in the menu of a conversation."""
    page.get_by_label(f"More for {title}", exact=True).click()
    page.locator(LINES).filter(has_text=title).get_by_role("button", name=act).first.click()


def test_conversations_are_kept_found_renamed_pinned_and_deleted(kept_site, open_page):
    page = open_page(kept_site)
    ask(page, "say: about whales")
    idle(page)
    expect(page.locator(f"{LINES} [aria-current=page]")).to_have_text("say: about whales")
    page.locator("#new-button").click()
    expect(page.locator(ASKED)).to_have_count(0)
    ask(page, "say: about bees")
    idle(page)
    expect(page.locator(LINES)).to_have_count(2)
    page.get_by_label("Search conversations").fill("whales")
    expect(page.locator(LINES)).to_have_count(1)
    page.get_by_label("Search conversations").fill("nothing like it")
    expect(page.locator("#conversations")).to_contain_text("Nothing found")
    page.get_by_label("Search conversations").fill("")
    more(page, "say: about whales", "Pin")
    expect(page.locator("#conversations h3").first).to_have_text("Pinned")
    more(page, "say: about whales", "Rename")
    page.get_by_label("New title of say: about whales").fill("Whales")
    page.keyboard.press("Enter")
    page.locator(LINES).get_by_role("button", name="Whales", exact=True).click()
    expect(page.locator(ANSWER).last).to_have_text("about whales")
    more(page, "Whales", "Delete")
    expect(page.locator(LINES)).to_have_count(2)
    page.get_by_role("button", name="Delete for good?").click()
    expect(page.locator(LINES)).to_have_count(1)
    expect(page.locator(ASKED)).to_have_count(0)


def test_a_long_list_scrolls_within_its_column(open_page, tmp_path):
    store = Store(tmp_path)
    for number in range(60):
        conversation = answered(Conversation().ask(f"question {number}"))
        conversations_of(store, "").save(conversation, PanelSettings(), "scripted")
    store.close()
    served = serve(lambda source, **_: scripted.load(source), "scripted", data=tmp_path)
    page = open_page(served)
    for height in (600, 800, 1100):
        page.set_viewport_size({"width": 1280, "height": height})
        expect(page.locator("#import-button")).to_be_in_viewport()
        page.locator("#conversations").hover()
        page.mouse.wheel(0, 20_000)
        expect(page.get_by_role("button", name="question 0", exact=True)).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollHeight") <= height
    page.close()
    served.close()


def test_a_conversation_comes_back_with_its_settings(kept_site, open_page):
    page = open_page(kept_site)
    page.locator("#settings-button").click()
    page.get_by_label("System prompt").fill("Be brief.")
    ask(page, "say: settings matter")
    idle(page)
    page.reload()
    expect(page.locator(ANSWER).last).to_have_text("settings matter")  # the tab remembers
    other = open_page(kept_site)
    expect(other.locator(ASKED)).to_have_count(0)
    other.locator(LINES).get_by_role("button", name="say: settings matter", exact=True).click()
    expect(other.locator(ANSWER).last).to_have_text("settings matter")
    other.locator("#settings-button").click()
    expect(other.get_by_label("System prompt")).to_have_value("Be brief.")


def test_versions_of_a_message_and_its_deletion(kept_site, open_page):
    page = open_page(kept_site)
    ask(page, "say: first")
    idle(page)
    page.get_by_label("Edit your message").click()
    page.locator(".message-editor textarea").fill("say: second")
    page.locator(".message-editor").get_by_role("button", name="Send").click()
    expect(page.locator(ANSWER).last).to_have_text("second")
    idle(page)
    page.get_by_label("Earlier version of this message").click()
    expect(page.locator(ANSWER).last).to_have_text("first")
    expect(page.get_by_label("Version 1 of 2")).to_be_visible()
    page.get_by_label("Later version of this message").click()
    expect(page.locator(ANSWER).last).to_have_text("second")
    ask(page, "say: third")
    idle(page)
    page.get_by_label("Delete this message and its replies").last.click()
    page.get_by_label("Delete? Delete this message and its replies").click()
    expect(page.locator(ASKED)).to_have_count(1)


def test_a_reply_is_edited_as_another_version_and_a_version_is_deleted(kept_site, open_page):
    page = open_page(kept_site)
    ask(page, "say: a *star*")
    idle(page)
    page.get_by_label("Edit this reply").click()
    editor = page.locator(".message-editor textarea")
    expect(editor).to_have_value("a *star*")
    expect(editor).to_be_focused()
    editor.press("Escape")
    expect(editor).to_have_count(0)
    page.get_by_label("Edit this reply").click()
    editor.fill("my *own* words")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(ANSWER).last).to_have_text("my own words")
    expect(page.get_by_label("Version 2 of 2")).to_be_visible()
    ask(page, "say: on")
    idle(page)
    page.get_by_label("Delete this version of the reply and what follows it").click()
    page.get_by_role("button", name="Delete? Delete this version").click()
    expect(page.locator(ANSWER).last).to_have_text("a star")
    expect(page.locator(ASKED)).to_have_count(1)
    page.reload()
    expect(page.locator(ANSWER).last).to_have_text("a star")


def test_a_stopped_reply_goes_on(kept_site, open_page):
    page = open_page(kept_site)
    ask(page, "slow")
    expect(page.locator(ANSWER).last).to_contain_text("tick")
    page.keyboard.press("Escape")
    idle(page)
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(ANSWER).last).to_contain_text("Echo: tick")
    idle(page)


def test_export_and_import(kept_site, open_page, tmp_path):
    page = open_page(kept_site)
    ask(page, "say: to be taken along")
    idle(page)
    with page.expect_download() as waiting:
        more(page, "say: to be taken along", "Export Markdown")
    assert waiting.value.suggested_filename == "say to be taken along.md"
    assert "to be taken along" in Path(waiting.value.path()).read_text()
    page.reload()
    with page.expect_download() as waiting:
        more(page, "say: to be taken along", "Export JSON")
    file = tmp_path / "kept.json"
    kept = json.loads(Path(waiting.value.path()).read_text())
    kept["title"] = "<img src=x onerror=document.title='hacked'>"
    file.write_text(json.dumps(kept))
    with page.expect_file_chooser() as choosing:
        page.locator("#import-button").click()
    choosing.value.set_files(file)
    expect(page.locator(f"{LINES} [aria-current=page]")).to_contain_text("<img src=x")
    expect(page.locator(ANSWER).last).to_have_text("to be taken along")
    assert page.title() == "mlx-deepseek"
    (tmp_path / "broken.json").write_text("{")
    with page.expect_file_chooser() as choosing:
        page.locator("#import-button").click()
    choosing.value.set_files(tmp_path / "broken.json")
    expect(page.locator("#sidebar-note [role=alert]")).to_be_visible()
    page.locator("#sidebar-note").get_by_role("button", name="Close").click()
    expect(page.locator("#sidebar-note [role=alert]")).to_have_count(0)


def test_a_phone_opens_the_drawer_over_the_chat(kept_site, open_page):
    page = open_page(kept_site, width=360, height=740)
    expect(page.locator("#sidebar")).to_be_hidden()
    opener = page.locator("#drawer-button")
    opener.click()
    expect(page.locator("#sidebar")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#sidebar")).to_be_hidden()
    expect(opener).to_be_focused()
