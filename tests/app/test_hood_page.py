"""Under the hood: its HTML, and on nano in a real browser."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from mlx_deepseek.insight import CacheWidths, Routing
from mlx_deepseek_app.hood_page import cache_html, drafts_html, routing_html

COUNTS = np.array([[4, 0, 2, 2], [1, 3, 3, 1]])


def test_the_heat_map_has_a_cell_for_each_expert_of_each_layer():
    html = routing_html(Routing((1, 2), COUNTS, tokens=4, per_token=2))
    assert html.count("<rect") == COUNTS.size
    assert "layer 1, expert 0: 4 of 4 tokens" in html
    assert "<td>2.00</td><td>1 of 4</td>" in html
    assert "<td>1.50</td><td>0 of 4</td>" in html


def test_a_dense_model_says_so():
    html = routing_html(Routing((), np.zeros((0, 0), int), 0, 0))
    assert "dense" in html
    assert "<svg" not in html


def test_bars_are_as_long_as_what_they_show():
    html = cache_html(CacheWidths(used=10, mha=100, gqa=50), 3)
    assert re.findall(r"width:([\d.]+)%", html) == ["10.0", "50.0", "100.0"]
    assert "20 bytes" in html


def test_drafts_say_how_many_were_right():
    assert "3 (75%)" in drafts_html(4, 3)
    assert "did not pay" in drafts_html(0, 0)


@pytest.mark.browser
def test_nano_shows_its_experts_cache_and_drafts(nano_site, open_page):
    page = open_page(nano_site)
    page.get_by_role("tab", name="Under the hood").click()
    page.get_by_role("button", name="Look").click()
    shown = page.locator("#hood-shown")
    expect(shown).to_contain_text("tokens chose")
    expect(shown).to_contain_text("Sparse attention")
    assert shown.locator("rect").count() > 16
    assert shown.locator(".bars tr").count() == 2  # 8 groups are all of its heads
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
