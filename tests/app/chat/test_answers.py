"""Answers that go on whatever the tab does, and messages that wait for them, in a real browser."""

import json
import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.command import serve
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.storage.conversations import SavedConversation, conversations_of
from mlx_deepseek_app.storage.store import Store
from tests.app import scripted
from tests.app.conversation.test_conversation import answered
from tests.app.test_browser import ANSWER, ASKED, ask, idle
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

LONG, MESSAGES = "a long conversation", 120
BOX = "#prompt textarea"


@pytest.fixture(scope="module")
def kept_site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    store, talk = Store(folder), Conversation()
    for number in range(MESSAGES // 2):
        talk = answered(talk.ask(f"question {number}"))
    conversations_of(store, "").add(SavedConversation(talk, PanelSettings(), "scripted", LONG))
    store.close()
    served = serve(lambda source, **_: scripted.load(source), "scripted", data=folder)
    yield served
    served.close()


def open_talk(page, title):
    page.locator("#conversations").get_by_role("button", name=title, exact=True).click()


def ticks(page):
    return page.locator(ANSWER).last.inner_text().count("tick")


def test_an_answer_goes_on_while_one_is_elsewhere_and_any_tab_stops_it(kept_site, open_page):
    page = open_page(kept_site)
    ask(page, "slow and steady")
    expect(page.locator(ANSWER).last).to_contain_text("tick")
    page.locator("#new-button").click()
    expect(page.locator(ASKED)).to_have_count(0)
    expect(page.locator("#stop-button")).to_have_count(0)
    ask(page, "say: meanwhile")
    idle(page)
    other = open_page(kept_site)  # its list has both; it follows the answer
    open_talk(other, "slow and steady")
    expect(other.locator(ANSWER).last).to_contain_text("tick")
    before = ticks(other)
    other.reload()
    expect(other.locator(ASKED)).to_have_text("slow and steady")
    expect(other.locator("#stop-button")).to_be_visible()
    assert ticks(other) > before
    open_talk(page, "slow and steady")
    page.locator("#stop-button").click()
    for one in (page, other):
        idle(one)
        expect(one.locator(ANSWER).last).to_have_text("Stopped.")


def test_tabs_follow_each_other(kept_site, open_page):
    first, second = open_page(kept_site), open_page(kept_site)
    ask(first, "say: seen by both")
    open_talk(second, "say: seen by both")
    expect(second.locator(ANSWER).last).to_have_text("seen by both")
    ask(second, "say: more")
    expect(first.locator(ANSWER).last).to_have_text("more")
    wait_until(lambda: not kept_site.service.load("", "another").error)
    for one in (first, second):
        expect(one.locator("#model-menu")).to_contain_text("another")
    open_talk(second, LONG)
    first.get_by_label("More for say: seen by both", exact=True).click()
    first.get_by_role("button", name="Delete say: seen by both").click()
    first.get_by_role("button", name="Delete for good?").click()
    expect(second.get_by_text("say: seen by both")).to_have_count(0)
    expect(first.locator(ASKED)).to_have_count(0)


def test_what_one_types_meanwhile_stays_is_queued_and_sent(kept_site, open_page):
    page = open_page(kept_site)
    ask(page, "slow")
    expect(page.locator(ANSWER).last).to_contain_text("tick")
    box = page.locator(BOX)
    for text in ("say: next", "say: never"):
        box.fill(text)
        box.press("Enter")
        expect(box).to_have_value("")
    queued = page.locator("#queued li")
    expect(queued).to_have_text([re.compile("say: next"), re.compile("say: never")])
    queued.last.get_by_role("button").click()
    expect(queued).to_have_count(1)
    box.fill("a draft")
    page.keyboard.press("Escape")
    expect(page.locator(ANSWER).last).to_have_text("next")
    idle(page)
    expect(queued).to_have_count(0)
    expect(box).to_have_value("a draft")


def test_each_conversation_keeps_its_draft(kept_site, open_page):
    page = open_page(kept_site)
    box = page.locator(BOX)
    box.fill("for a new one")
    open_talk(page, LONG)
    expect(box).to_have_value("")
    box.fill("for the long one")
    page.locator("#new-button").click()
    expect(box).to_have_value("for a new one")
    open_talk(page, LONG)
    expect(box).to_have_value("for the long one")
    page.reload()
    expect(box).to_have_value("for the long one")


def test_new_chat_right_after_an_answer_is_never_swallowed(kept_site, open_page):
    page = open_page(kept_site)
    for number in range(3):
        ask(page, "say: " + "word " * 200)
        page.locator("#stop-button").wait_for()
        page.locator("#stop-button").wait_for(state="detached")
        page.locator("#new-button").click()
        page.locator(BOX).fill(f"draft {number}")
        expect(page.locator(ASKED)).to_have_count(0)
        expect(page.locator(BOX)).to_have_value(f"draft {number}")


def test_a_long_conversation_shows_its_end_and_the_rest_on_demand(kept_site, open_page):
    page = open_page(kept_site)
    open_talk(page, LONG)
    expect(page.locator(ASKED).last).to_have_text("question 59")
    for drawn in (10, 20, 30, 40, 50):
        expect(page.locator(ASKED)).to_have_count(drawn)
        page.get_by_role("button", name="Show 20 earlier messages").click()
    expect(page.locator(ASKED).first).to_have_text("question 0")
    expect(page.get_by_role("button", name="earlier messages")).to_have_count(0)
    ask(page, "say: on")  # the tools belong to the right messages
    idle(page)
    page.get_by_label("Edit your message").last.click()
    expect(page.locator(".message-editor textarea")).to_have_value("say: on")


def test_how_far_a_long_prompt_is_read_is_told_before_the_first_word(
    server, engines, site, open_page
):
    page = open_page(site)
    ask(page, "read a lot")
    waiting = page.locator(f"{ANSWER} .waiting")
    expect(waiting).to_contain_text("Reading 12,000 tokens, 40% · 45 s left")
    expect(waiting.locator(".dots")).to_be_visible()
    engines[-1].activity = replace(engines[-1].activity, read_tokens=12_000)
    expect(page.locator(ANSWER).last).to_have_text("Echo: read a lot")


def test_a_full_context_is_told_before_it_happens_and_goes_on_in_a_new_chat(
    site, engines, open_page
):
    page = open_page(site)
    engines[-1].context_length = 16
    ask(page, "say: first")
    idle(page)
    meter = page.locator("#meter")
    expect(meter).to_contain_text("nearly full: the oldest turns will be forgotten")
    ask(page, "say: second " + "word " * 11)
    idle(page)
    assert len(engines[-1].calls[-1]["messages"]) == 1
    expect(meter).to_contain_text("Without the 1 oldest turns, which no longer fit")
    page.get_by_role("button", name="Go on in a new chat").click()
    expect(meter).to_contain_text("What was said before stands in the system prompt")
    expect(page.locator(ASKED)).to_have_count(0)
    ask(page, "say: on")
    idle(page)
    assert "goes on from an earlier one" in engines[-1].calls[-1]["messages"][0]["content"]


def test_a_token_costs_no_more_in_a_long_conversation(kept_site, open_page):
    page = open_page(kept_site)
    cdp = page.context.new_cdp_session(page)
    cdp.send("Network.enable")
    got = []
    cdp.on("Network.dataReceived", lambda event: got.append(event["dataLength"]))
    sums = []
    for title in ("", LONG):
        if title:
            open_talk(page, title)
            expect(page.locator(ASKED).nth(5)).to_be_visible()
        page.locator(BOX).fill("say: " + "word " * 300)
        page.wait_for_timeout(300)
        got.clear()
        page.keyboard.press("Enter")
        expect(page.locator("#stop-button")).to_be_visible()
        idle(page)
        sums.append(sum(got))
    short, long = sums
    assert long < short + 60_000, sums  # the conversation itself, once or twice


def test_what_is_written_has_no_other_row_styled_again(kept_site, open_page, browser):
    page = open_page(kept_site)
    open_talk(page, LONG)
    expect(page.locator(ASKED).nth(5)).to_be_visible()  # what is last, other tests decide
    browser.start_tracing(page=page, categories=["devtools.timeline"])
    ask(page, "say: " + "word " * 100)
    idle(page)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    styled = [one["args"]["elementCount"] for one in events if one["name"] == "UpdateLayoutTree"]
    rows = page.locator(".message-row").count()
    # once where rows come, and once where their tools do; with each word they would be many
    assert len([count for count in styled if count > 10 * rows]) <= 4 < len(styled)
