"""The models page in a real browser."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

CARD = "#models .card"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A laptop, whatever runs the tests."""
    monkeypatch.setattr("mlx_deepseek.memory.machine_memory_bytes", lambda: 36 * 10**9)


def test_models_are_found_filtered_and_explained(nano_site, open_page):
    page = open_page(nano_site)
    page.get_by_role("tab", name="Models").click()
    expect(page.locator(CARD).first).to_be_visible()
    expect(page.locator("#models .room")).to_contain_text("of memory for a model")
    page.get_by_label("Find a model").fill("coder-v2-lite")
    expect(page.locator(CARD)).to_have_count(2)
    card = page.locator(CARD).first
    expect(card).to_contain_text("Fits as")
    card.get_by_text("All recipes").click()
    expect(card.get_by_role("cell", name="4bit", exact=True)).to_be_visible()
    page.get_by_label("Find a model").fill("deepseek-v3.2-speciale")
    expect(page.locator("#models-list")).to_contain_text("No model matches")
    page.get_by_label("Only what fits here").uncheck()
    expect(page.locator(CARD)).to_contain_text("Too large for this machine")
    page.get_by_role("tab", name="Chat").click()
    expect(page.locator("#prompt textarea")).to_be_visible()


def test_a_model_is_loaded_by_its_button(site, engines, open_page):
    page = open_page(site)
    page.get_by_role("tab", name="Models").click()
    page.get_by_label("Find a model").fill("coder-v2-lite-instruct")
    expect(page.locator(CARD)).to_have_count(1)
    page.get_by_role("button", name="Get DeepSeek-Coder-V2-Lite-Instruct").click()
    expect(page.locator("#models-outcome")).to_contain_text("is in memory")
    assert engines[-1].name == "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"
    expect(page.locator("#model-chip")).to_contain_text("DeepSeek-Coder-V2-Lite-Instruct")
