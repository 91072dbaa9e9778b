"""The code page in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.app.test_browser import to_page

pytestmark = pytest.mark.browser


SOURCE = "coder"


def pane(page, name):
    return page.locator(f"#code-{name} .cm-content")


def lines(page, name):
    return pane(page, name).locator(".cm-line").all_inner_texts()


@pytest.fixture
def page(able_site, open_page):
    page = open_page(able_site)
    page.locator("#nav").get_by_role("link", name="Code").click()
    return page


def test_a_model_that_cannot_fill_in_has_no_page_for_it(site, open_page):
    expect(open_page(site).locator("#nav").get_by_role("link", name="Code")).to_have_count(0)


def test_a_gap_is_filled_with_other_files_in_sight_and_kept(page, engine, tmp_path):
    for name, text in (("base.py", "BASE = 1"), ("vast.py", "word " * 9000)):
        (tmp_path / name).write_text(text)
    with page.expect_file_chooser() as choosing:
        page.locator("#code-files button").first.click()
    choosing.value.set_files([tmp_path / "base.py", tmp_path / "vast.py"])
    expect(page.locator("#code-files")).to_contain_text("vast")
    expect(pane(page, "before").locator("span").first).to_have_text("def")  # highlighted
    expect(page.locator("#code-before .cm-lineNumbers")).to_contain_text("2")
    pane(page, "after").fill("\nprint(mean([1, 2]))")
    page.get_by_label("Name of this file").fill("stats.py")
    page.get_by_role("button", name="Fill in").click()
    expect(page.locator("#code-state")).to_contain_text("Done")
    expect(page.locator("#code-state")).to_contain_text("No room in the context for vast.py")
    expect(page.locator("#code-filled")).to_contain_text("return sum(numbers) / len(numbers)")
    asked = engine.calls[-1]
    assert asked["files"] == [("base.py", "BASE = 1")]
    assert (asked["path"], asked["suffix"]) == ("stats.py", "\nprint(mean([1, 2]))")
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("button", name="Keep")).to_be_disabled()
    expect(pane(page, "before")).to_contain_text("return")
    assert lines(page, "before") == [
        "def mean(numbers):", "    return sum(numbers) / len(numbers)"
    ]  # fmt: skip
    assert page.get_by_label("Code before the gap").count() == 1  # by its name, too


def test_stop_keeps_what_was_written(page):
    pane(page, "before").fill("# slow\n")
    page.get_by_role("button", name="Fill in").click()
    expect(page.locator("#code-filled")).to_contain_text("tick")
    page.locator("#code-stop").click()
    expect(page.locator("#code-state")).to_contain_text("Stopped")
    expect(page.locator("#code-filled")).to_contain_text("tick")


def test_nothing_to_fill_is_said_and_360_px_suffice(able_site, open_page):
    page = open_page(able_site, width=360)
    to_page(page, "Code")
    pane(page, "before").fill(" ")
    pane(page, "after").fill("")
    page.get_by_role("button", name="Fill in").click()
    expect(page.locator("#code-state [role=alert]")).to_contain_text("Write some code first")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
