"""The Prove tab: its HTML, and with a scripted Prover and a real Lean in a real browser."""

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest
from playwright.sync_api import expect

from mlx_deepseek.proving import Attempt
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.tree import Node, grow, view
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.storage.proofs import Proofs
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs.prove import ProveTab
from mlx_deepseek_app.tabs.prove_html import SHOWN, attempts_html, kept_html, tree_html
from tests.app import scripted
from tests.app.test_browser import ask, idle

SOURCE = "prover"


def test_attempts_are_escaped_and_the_newest_come_first():
    tried = [
        Attempt(i, "sample", i, "<img src=x>", "body", i == 99, f"bad <b>{i}</b>")
        for i in range(100)
    ]
    html = attempts_html(tried)
    assert "<img" not in html
    assert "<b>" not in html
    assert html.count("<tr>") == SHOWN
    assert html.index(">100<") < html.index(">99<")
    assert "accepted" in html
    assert attempts_html([]) == ""


def test_the_tree_shows_goals_below_those_they_come_from():
    root = Node("⊢ p ∧ q", bodies=[""])
    steps = [("  constructor\n", "⊢ p\n\n⊢ <b>q"), ("  constructor\n  · exact hp\n", "⊢ q")]
    assert grow(root, steps)
    grow(root, [("  skip\n", "⊢ r")])
    root.children["⊢ r"].begin()
    root.children["⊢ r"].end(1.0)
    seen = view(root)
    assert [(one.depth, one.tactic) for one in seen.branches] == [
        (0, ""), (1, "skip"), (1, "constructor"), (2, "· exact hp")
    ]  # fmt: skip
    html = tree_html(seen)
    assert "⊢ p +1" in html
    assert "<b>" not in html
    assert (len(view(root, 2).branches), view(root, 2).left_out) == (2, 2)
    assert tree_html(None) == ""


def test_proofs_are_kept_once_shown_escaped_and_deleted(tmp_path):
    with_file = Store(tmp_path)
    kept = Proofs(with_file, "tab")
    for source in ("theorem a : <b> := by\n  rfl\n", "theorem c : 1 = 1 := rfl\n"):
        kept.keep(source, "Proved by portfolio; rests on no axioms.")
    kept.keep("theorem a : <b> := by\n  rfl\n", "again")
    with_file.close()
    kept = Proofs(store := Store(tmp_path), "another tab")
    found = kept.entries()
    assert [one.rests for one in found] == ["again", "Proved by portfolio; rests on no axioms."]
    html = kept_html(found)
    assert "<b>" not in html
    assert html.index("theorem a") < html.index("theorem c")
    kept.delete(found[0].id)
    assert [one.id for one in kept.entries()] == [found[1].id]
    store.close()
    assert kept_html([]) == ""


class Batches:
    """A job whose events come in batches, one for each time the page asks."""

    error, cancelled = "", False

    def __init__(self, *batches):
        self.batches, self.left = batches, len(batches)

    @property
    def finished(self):
        return self.left == 0

    def take(self):
        self.left -= 1
        return [(0.0, event) for event in self.batches[-1 - self.left]]


def test_what_has_not_changed_is_not_sent_again(monkeypatch):
    attempt = Attempt(0, "sample", 0, "text", "body", False, "bad")
    tree = view(Node("⊢ p", bodies=[""]))
    job = Batches([], [attempt], [], [tree], [attempt, tree])
    with gr.Blocks():
        tab = ProveTab(ModelService(scripted.load), Store())
    monkeypatch.setattr(tab.service, "stream", lambda owner, work: job)

    async def follow(job, every_s):
        while not job.finished:
            yield {}

    monkeypatch.setattr(tab, "follow", follow)

    async def sent():
        asked = tab.on_prove(SimpleNamespace(session_hash="tab"), "theorem a", "tree", 8)
        return [
            {part for part in (tab.tree, tab.tried, tab.proof) if part in one}
            async for one in asked
        ]

    assert asyncio.run(sent()) == [
        {tab.tree, tab.tried, tab.proof}, {tab.tried}, set(), {tab.tree}, {tab.tree, tab.tried}
    ]  # fmt: skip


@pytest.fixture
def page(able_site, open_page, lean: Lean, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlx_deepseek_app.tabs.prove.find_lean", lambda: lean)
    page = open_page(able_site)
    page.locator("#nav").get_by_role("link", name="Prove").click()
    return page


@pytest.mark.browser
def test_a_statement_is_proved_and_rejections_say_why(page, engine):
    statement = page.get_by_label("Lean statement")
    statement.fill("theorem swap (p q r : Prop) (hr : r → p) : (q ∧ r → p) ∧ True := bad by")
    page.locator("#prove-go").click()
    expect(page.locator("#prove-state")).to_contain_text("not open")
    # The tactics are not enough for what follows; `nothing` is unknown to Lean.
    statement.fill("theorem swap (p q : Nat → Prop) : (p 1 ∧ q 2) → (q 2 ∧ p 1) := by")
    page.locator("#prove-go").click()
    expect(page.locator("#prove-state")).to_contain_text("Done")
    expect(page.locator("#prove-state")).to_contain_text("swap : ∀ (p q : Nat → Prop)")
    expect(page.locator("#prove-state")).to_contain_text("Lean 4.35.0 without Mathlib")
    expect(page.locator("#prove-proof")).to_contain_text("theorem swap")
    kept = page.locator("#prove-kept details")
    kept.locator("summary").click()
    expect(kept).to_contain_text("rests on")
    kept.get_by_role("button", name="Delete").click()
    expect(kept).to_have_count(0)
    expect(page.locator("#prove-tried")).to_contain_text("accepted")


@pytest.mark.browser
def test_a_statement_is_coloured_and_stays_what_was_written(page):
    box, colours = page.get_by_label("Lean statement"), page.locator(".lean-colours")
    text = '-- note\ntheorem t\' (n : Nat) :\n    n + 10 = 10 + n := by\n  sorry <b>"s"</b>'
    box.fill(text)
    assert box.input_value() == text
    assert colours.evaluate("e => e.textContent") == text + "\n"
    for kind, words in {
        "comment": ["-- note"],
        "keyword": ["theorem", "by"],
        "sort": ["Nat"],
        "number": ["10", "10"],
        "open": ["sorry"],
        "string": ['"s"'],
    }.items():
        assert colours.locator(f".{kind}").all_text_contents() == words
    rows = "e => [e.getBoundingClientRect(), getComputedStyle(e)].map((o, i) => i ? "
    measured = rows + "[o.fontSize, o.lineHeight, o.fontFamily, o.paddingLeft, o.paddingTop] : o.x)"
    assert colours.evaluate(measured) == box.evaluate(measured)
    page.locator("#page-prove, #prove").get_by_text("add_zero'").first.click()  # an example
    expect(colours).to_contain_text("theorem add_zero'")


@pytest.mark.browser
def test_stop_ends_a_search(page):
    page.get_by_label("Lean statement").fill("theorem slow (p : Nat → Prop) : p 1 := by")
    page.locator("#prove-go").click()
    expect(page.locator("#prove-tried")).to_contain_text("portfolio")
    page.locator("#prove-stop").click()
    expect(page.locator("#prove-state")).to_contain_text("Stopped")
    expect(page.locator("#prove-go")).to_be_visible()


BLOCKS = """\
```lean4
def two : Nat := 2
theorem a : two + two = 4 := by
  rfl
```
```lean
theorem b (n : Nat) : n < n := by
  omega
```
```lean
def nothing : Nat := 0
```
"""


@pytest.mark.browser
def test_lean_judges_what_stands_in_a_chat(site, open_page, lean: Lean, monkeypatch):
    """A block with a proof, one with a false one, and one with none."""
    monkeypatch.setattr("mlx_deepseek_app.chat.lean_check.find_lean", lambda: lean)
    page = open_page(site)
    ask(page, f"say: {BLOCKS}")
    idle(page)
    checks = page.get_by_role("button", name="Check with Lean")
    expect(checks).to_have_count(3)
    for number in range(3):
        checks.nth(number).click()
    said = page.locator("#chat .lean-said")
    expect(said.nth(0)).to_contain_text("accepts it; rests on no axioms")
    expect(said.nth(0)).to_contain_text("a : two + two = 4")
    expect(said.nth(1)).to_contain_text("Lean 4.35.0 rejects it")
    expect(said.nth(2)).to_contain_text("no theorem")
