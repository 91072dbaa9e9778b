"""The Prove tab: its HTML, and with a scripted Prover and a real Lean in a real browser."""

import pytest
from playwright.sync_api import expect

from mlx_deepseek.proving import Attempt
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek_app.tabs.prove import SHOWN, attempts_html
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
    expect(page.locator("#prove-tried")).to_contain_text("accepted")


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
