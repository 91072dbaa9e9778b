"""A day of using the app, as one script: nothing may be lost, and no page may complain.

    python tests/soak/app_day.py [--conversations 40] [--messages 300] [--seed 1]

Scripted engines answer at once, so that it takes minutes. Three models take turns; messages are
queued, edited, answered again, stopped; pages are reloaded in mid-answer, left and come back to;
a second tab follows, a phone asks, too; documents are read. At the end each conversation must
hold what was said in it, and the list have all of them.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import expect, sync_playwright  # noqa: E402

from mlx_deepseek_app.command import serve  # noqa: E402
from mlx_deepseek_app.storage.conversations import conversations_of  # noqa: E402
from mlx_deepseek_app.storage.store import Store  # noqa: E402
from tests.app import scripted  # noqa: E402
from tests.app.conftest import LEAVING, chromium, is_local  # noqa: E402
from tests.app.screenshot import letter  # noqa: E402
from tests.app.test_browser import ANSWER, ASKED, ask, choose, idle, to_page  # noqa: E402
from tests.waiting import wait_until  # noqa: E402

MODELS = ("alpha", "eyes", "coder")
BOX = "#prompt textarea"
TEXTS = (
    "say: $x^2$ and **bold** for {}",
    "say: ```python\nprint({})\n```",
    "plain {}",
    "say: | a | b |\n|-|-|\n| {} | 2 |",
    "say: 中文 {} <b> & \\(a\\)",
)


class Day:
    """The pages, what was said in each conversation, and what went wrong."""

    def __init__(self, browser: Any, served: Any, seed: int) -> None:
        self.served, self.random = served, random.Random(seed)
        self.problems: list[str] = []
        self.said: dict[str, list[str]] = {}  # by the conversation's id
        self.number = 0
        desk = browser.new_context(viewport={"width": 1280, "height": 800})
        phone = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True)
        self.desk, self.second, self.phone = (self.open(one) for one in (desk, desk, phone))

    def open(self, context: Any) -> Any:
        """A page that is watched."""
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("console", self._heard)
        page.on("request", lambda asked: is_local(asked.url) or self.problems.append(asked.url))
        page.goto(self.served.url)
        page.wait_for_selector("#suggestions li")
        return page

    def _heard(self, note: Any) -> None:
        if note.type == "error" and not note.text.startswith(LEAVING):
            self.problems.append(f"console: {note.text}")

    def text(self) -> str:
        """A message that no other is like."""
        self.number += 1
        return self.random.choice(TEXTS).format(self.number)

    def say(self, page: Any) -> None:
        """Ask in the conversation that a page shows, and wait for the answer."""
        text = self.text()
        ask(page, text)
        idle(page)
        self.note(page, text)

    def note(self, page: Any, *texts: str) -> None:
        """What the conversation on a page now holds, too."""
        page.wait_for_function("location.hash.startsWith('#chat/')")
        key = page.evaluate("location.hash.split('/')[1]")
        self.said.setdefault(key, []).extend(texts)

    def new(self, page: Any) -> None:
        """A new conversation."""
        if page is self.phone:
            page.locator("#bar-new").click()
        else:
            page.locator("#new-button").click()
        expect(page.locator(ASKED)).to_have_count(0)

    # -- what people do ------------------------------------------------------------------------

    def reload(self, page: Any) -> None:
        """In mid-answer; it goes on, and is stopped."""
        text = f"slow {self.text()}"
        ask(page, text)
        expect(page.locator(ANSWER).last).to_contain_text("tick")
        self.note(page, text)
        page.reload()
        expect(page.locator("#stop-button")).to_be_visible()
        page.locator("#stop-button").click()
        idle(page)
        expect(page.locator(ANSWER).last).to_have_text("Stopped.")

    def queue(self, page: Any) -> None:
        """A message while an answer is made."""
        first, second = f"slow {self.text()}", self.text()
        ask(page, first)
        expect(page.locator(ANSWER).last).to_contain_text("tick")
        page.locator(BOX).fill(second)
        page.keyboard.press("Enter")
        expect(page.locator("#queued li")).to_have_count(1)
        page.locator("#stop-button").click()
        expect(page.locator(ASKED).last).to_contain_text(str(self.number))
        idle(page)
        self.note(page, first, second)

    def edit(self, page: Any) -> None:
        """The last message, asked differently; what it was stays as another version."""
        text = self.text()
        page.locator("#chat").get_by_label("Edit your message").last.click()
        page.locator(".message-editor textarea").fill(text)
        page.keyboard.press("Enter")
        expect(page.locator(ASKED).last).to_contain_text(str(self.number))
        idle(page)
        self.note(page, text)

    def retry(self, page: Any) -> None:
        """Another answer."""
        page.get_by_label("Retry").last.click()
        expect(page.locator("#chat").get_by_label("Version 2 of 2").last).to_be_visible()
        idle(page)

    def leave(self, page: Any) -> None:
        """Look at another page while an answer is made."""
        text = self.text()
        ask(page, text)
        to_page(page, self.random.choice(("Models", "Compare", "Under the hood")))
        page.go_back()
        expect(page.locator(BOX)).to_be_visible()
        idle(page)
        self.note(page, text)

    def follow(self, page: Any) -> None:
        """The second tab shows the conversation, and says something in it."""
        key = page.evaluate("location.hash")
        count = page.locator(ASKED).count()
        self.second.evaluate("(hash) => { location.hash = hash; }", key)
        expect(self.second.locator(ASKED)).to_have_count(count)
        self.say(self.second)
        expect(page.locator(ASKED)).to_have_count(count + 1)

    def read(self, folder: Path) -> None:
        """A document."""
        to_page(self.desk, "Documents")
        path = letter(folder).rename(folder / f"note {self.number}.pdf")
        with self.desk.expect_file_chooser() as choosing:
            self.desk.locator("#documents-files button").first.click()
        choosing.value.set_files(path)
        expect(self.desk.locator("#documents-files")).to_contain_text("note")
        self.desk.get_by_role("button", name="Read", exact=True).click()
        self.desk.get_by_role("button", name="Get Markdown").wait_for()
        self.desk.evaluate("location.hash = 'chat'")

    def model(self, name: str) -> None:
        """Another model, which every tab then shows."""
        choose(self.desk, name)
        for page in (self.desk, self.second, self.phone):
            expect(page.locator("#model-menu .menu-button")).to_contain_text(name)


def main() -> int:
    """Live through the day; 1 if anything was lost or said."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    expect.set_options(timeout=60_000)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data, papers = Path(folder) / "data", Path(folder)
        served = serve(lambda source, **_: scripted.load(source), MODELS[0], data=data)
        wait_until(lambda: served.service.engine is not None)
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        day = Day(browser, served, args.seed)
        live(day, args.conversations, args.messages // 2, papers)
        day.problems += lost(day, data)
        browser.close()
        served.close()
    count = 2 * sum(map(len, day.said.values()))
    print(f"{len(day.said)} conversations, {count} messages, {time.monotonic() - began_s:.0f} s")
    print("\n".join(day.problems) or "nothing lost, no complaint")
    return int(bool(day.problems))


def live(day: Day, conversations: int, questions: int, papers: Path) -> None:
    """So many conversations and questions, some of them with something else meanwhile."""
    acts = [day.reload, day.queue, day.edit, day.retry, day.leave, day.follow]
    for number in range(conversations):
        if number % (conversations // len(MODELS) + 1) == 0 and number:
            day.model(MODELS[number // (conversations // len(MODELS) + 1)])
        page = day.phone if number % 8 == 7 else day.desk
        day.new(page)
        day.say(page)
        act = acts[number % len(acts)]
        act(page)
        asked = sum(map(len, day.said.values()))
        while asked * conversations < questions * (number + 1):
            day.say(page)
            asked += 1
        if day.served.service.engine.sees and number % 2:
            day.read(papers)


def lost(day: Day, data: Path) -> list[str]:
    """What is not in the store, or not on the page of one who comes back."""
    missing = []
    store = Store(data)
    for key, texts in day.said.items():
        kept = conversations_of(store, "").open(key)
        nodes = () if kept is None else kept.conversation.nodes
        asked = {node.text for node in nodes if node.role == "user"}
        missing += [f"{key}: {text!r} is lost" for text in texts if text not in asked]
        open_ends = [node.state for node in nodes if node.state in ("waiting", "writing", "cut")]
        missing += [f"{key}: a reply is {state}" for state in open_ends]
        silent = [node for node in nodes if node.role != "user" and not node.text]
        missing += [f"{key}: {len(silent)} replies without a word"] if silent else []
    store.close()
    lines = day.second.locator("#conversations [data-act=open]")
    if lines.count() != len(day.said):
        missing.append(f"the list has {lines.count()} of {len(day.said)} conversations")
    for key in day.random.sample(sorted(day.said), min(5, len(day.said))):
        day.second.goto(f"{day.served.url}#chat/{key}")
        expect(day.second.locator(ASKED).first).to_be_visible()
    return missing


if __name__ == "__main__":
    sys.exit(main())
