"""Model internals: its HTML, and on nano in a real browser."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from playwright.sync_api import expect

from mlx_deepseek import load
from mlx_deepseek.engine.inspect import CacheWidths, Routing, Selection
from mlx_deepseek.generation.prompt import EncodedPrompt
from mlx_deepseek.generation.results import Completion, TokenLogprob, Usage
from mlx_deepseek_app.command import serve
from mlx_deepseek_app.tabs.heat_maps import CELLS, binned, routing_html, selection_html
from mlx_deepseek_app.tabs.inspect import cache_html, drafts_html
from tests.app import scripted

CHOSEN = np.array([[[0, 2], [0, 2], [0, 3], [0, 3]], [[0, 1], [1, 2], [1, 2], [2, 3]]])
COUNTS = np.array([[4, 0, 2, 2], [1, 3, 3, 1]])
ROUTING = Routing((1, 2), COUNTS, tokens=4, per_token=2, chosen=CHOSEN)


def test_the_heat_map_has_a_cell_for_each_expert_of_each_layer():
    html = routing_html(ROUTING)
    assert html.count("<rect") == COUNTS.size
    assert "layer 1, expert 0: 4 of 4 tokens" in html
    assert "<td>2.00</td><td>1 of 4</td>" in html
    assert "<td>1.50</td><td>0 of 4</td>" in html


def test_the_map_is_played_over_the_answer_alone():
    html = routing_html(ROUTING, ["<b>", "{{x}}"])
    assert 'data-cells="[[0,3,5,6],[0,3,6,7]]"' in html  # the second row begins with cell 4
    assert "&lt;b&gt;</span>" in html
    assert "{" not in html


def test_a_dense_model_says_so():
    html = routing_html(Routing((), np.zeros((0, 0), int), 0, 0, np.zeros((0, 0, 0), int)))
    assert "dense" in html
    assert "<svg" not in html


def test_bars_are_as_long_as_what_they_show():
    html = cache_html(CacheWidths(used=10, mha=100, gqa=50), 3)
    assert re.findall(r"width:([\d.]+)%", html) == ["10.0", "50.0", "100.0"]
    assert "20 bytes" in html


def test_drafts_say_how_many_were_right():
    assert "3 (75%)" in drafts_html(4, 3)
    assert "did not pay" in drafts_html(0, 0)


def test_a_token_is_never_shown_to_attend_to_a_later_one():
    counts = np.array([[3, 0, 0], [3, 3, 0], [0, 3, 3]])
    html = selection_html(Selection(counts, 3, 2))
    assert html.count("<rect") == 6
    assert "token 2, earlier token 0: chosen in 0 of 3 cases" in html
    assert "83% of what 3 tokens" in html


@pytest.mark.parametrize("tokens", [1, CELLS, CELLS + 1, 1000])
def test_many_tokens_are_put_together_and_none_is_lost(tokens):
    counts = np.arange(tokens * tokens).reshape(tokens, tokens)
    squares, step = binned(counts)
    assert squares.sum() == counts.sum()
    assert len(squares) == -(-tokens // step) <= CELLS
    assert squares[0, 0] == counts[:step, :step].sum()


class Sparse(scripted.ScriptedEngine):
    """The golden V3.2 checkpoint, which has no tokenizer: a token for each letter."""

    def use(self, golden):
        self.golden, self.model, self.config = golden, golden.model, golden.config
        self.processor = SimpleNamespace(encode=lambda text: EncodedPrompt(list(text.encode())))
        return self

    def routing(self, prompt):
        return self.golden.routing(prompt)

    def selection(self, prompt):
        return self.golden.selection(list(prompt.encode()))

    def generate(self, prompt, **_):
        said = tuple(TokenLogprob(number, chr(number), 0.0) for number in b"7, 18, 42, 93")
        usage = Usage(10, 48, drafted_tokens=20, accepted_tokens=9)
        return Completion("", "", (), usage, "stop", logprobs=said)


@pytest.mark.browser
def test_a_sparse_model_shows_what_its_tokens_attend_to(open_page, goldens_root):
    engine = Sparse("v32").use(load(goldens_root / "deepseek_v32", dtype="float32"))
    served = serve(lambda source, **_: engine, "v32")
    page = open_page(served)
    page.locator("#nav").get_by_role("link", name="Under the hood").click()
    page.get_by_label("Prompt to look at").fill("Sort 42, 7, 93, 18 and say so.")
    page.get_by_role("button", name="Look").click()
    part = page.locator(".inspect").filter(has_text="Sparse attention")
    expect(part).to_contain_text("Each token attends to the 10 earlier ones")
    assert part.locator("rect").count() == 30 * 31 / 2
    expect(page.locator("#inspect-shown")).to_contain_text("9 (45%)")
    page.close()
    served.close()


@pytest.mark.browser
def test_nano_shows_its_experts_cache_and_drafts(nano_site, open_page):
    page = open_page(nano_site)
    page.locator("#nav").get_by_role("link", name="Under the hood").click()
    page.get_by_role("button", name="Look").click()
    shown = page.locator("#inspect-shown")
    expect(shown).to_contain_text("tokens chose")
    expect(shown).to_contain_text("Sparse attention")
    assert shown.locator("rect").count() > 16
    assert shown.locator(".bars tr").all_inner_texts()[1].startswith("Grouped queries (2 groups)")
    now, of = shown.locator("rect.now"), shown.locator(".tokens span")
    slider, play = shown.get_by_label("Token of the answer"), shown.locator("[data-act=play]")
    marked = ".tokens .now"
    expect(play).to_have_text("Pause")  # it plays by itself
    expect(of.nth(0)).not_to_have_class("now")
    play.click()
    expect(play).to_have_text("Play")
    slider.focus()
    page.keyboard.press("Home")
    expect(shown.locator(marked)).to_have_text(of.first.inner_text())
    chosen = int(re.search(r"tokens chose (\d+) of", shown.inner_text())[1])
    assert now.count() == chosen * shown.locator(".facts tr").count() - chosen
    page.keyboard.press("ArrowRight")
    expect(of.nth(1)).to_have_class("now")
    of.nth(2).click()
    assert slider.input_value() == "2"
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    left = "(one) => Math.round(one.getBoundingClientRect().x)"
    bar, heading = shown.locator(".bars .bar").first, shown.locator("h3").first
    assert bar.evaluate(left) == heading.evaluate(left)


@pytest.mark.browser
def test_nothing_moves_by_itself_for_those_who_want_it_still(nano_site, open_page):
    page = open_page(nano_site, reduced_motion="reduce")
    page.goto(f"{nano_site.url}#internals")
    page.get_by_role("button", name="Look").click()
    shown = page.locator("#inspect-shown")
    expect(shown).to_contain_text("Sparse attention")
    expect(shown.locator("[data-act=play]")).to_have_text("Play")
    expect(shown.locator(".tokens span").first).to_have_class("now")
