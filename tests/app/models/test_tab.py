"""The models page in a real browser."""

import re
import shutil
import threading

import pytest
from playwright.sync_api import expect

from mlx_deepseek.checkpoint.conversion_cache import readable
from mlx_deepseek_app.command import serve
from tests.app import scripted

pytestmark = pytest.mark.browser

CARD = "#models .card"
MODEL = ".menu-button"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A laptop, whatever runs the tests."""
    monkeypatch.setattr("mlx_deepseek.runtime.memory.machine_memory_bytes", lambda: 36 * 10**9)


def test_models_are_found_filtered_and_explained(nano_site, open_page):
    page = open_page(nano_site)
    page.locator("#nav").get_by_role("link", name="Models").click()
    expect(page.locator(CARD).first).to_be_visible()
    expect(page.locator("#models-room")).to_contain_text("of memory for a model")
    page.get_by_label("Find a model").fill("coder-v2-lite")
    expect(page.locator(CARD)).to_have_count(2)
    card = page.locator(CARD).first
    expect(card).to_contain_text(
        re.compile(r"8-bit · 1\d\.\d GB · good fit · download \d\d\.\d GB")
    )
    card.get_by_text("Details").click()
    expect(card.get_by_role("cell", name="4-bit", exact=True)).to_be_visible()
    page.get_by_label("Find a model").fill("deepseek-v3.2-speciale")
    expect(page.locator("#models-list")).to_contain_text("1 more matches and does not fit here.")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(CARD)).to_contain_text(
        re.compile("Larger than the memory|Too large for this machine")
    )
    page.go_back()
    expect(page.locator("#prompt textarea")).to_be_visible()


def test_a_model_is_loaded_by_its_button(site, engines, open_page):
    page = open_page(site)
    page.locator("#nav").get_by_role("link", name="Models").click()
    page.get_by_label("Find a model").fill("coder-v2-lite-instruct")
    expect(page.locator(CARD)).to_have_count(1)
    page.get_by_role("button", name="Get DeepSeek-Coder-V2-Lite-Instruct").click()
    expect(page.locator("#loads")).to_contain_text("is in memory")
    assert engines[-1].name == "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"
    expect(page.locator(MODEL)).to_contain_text("DeepSeek-Coder-V2-Lite-Instruct")


REPO = "deepseek-ai/DeepSeek-V2-Lite-Chat"


@pytest.fixture
def slowly(monkeypatch, tmp_path):
    """A site whose loads take until `go_on` is set, leaving on the disk what a conversion would."""
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))
    go_on = threading.Event()

    def loader(source, *, progress, recipe=None):
        if source == REPO:
            begun = tmp_path / f"{readable(REPO)}-{recipe}-0123.partial"
            (begun / "result").mkdir(parents=True, exist_ok=True)
            (begun / "result" / "model.safetensors").write_bytes(b"0" * 9000)
            while not go_on.wait(0.02):
                progress("convert", 1 << 30, 4 << 30)
            shutil.rmtree(begun)
        return scripted.load(source, progress=progress)

    served = serve(loader, "scripted")
    yield served, go_on, tmp_path
    served.close()


def test_a_model_is_paused_resumed_cancelled_and_unloaded(slowly, open_page):
    served, go_on, folder = slowly
    page = open_page(served)
    outcome, card = page.locator("#loads"), page.locator(CARD)
    page.locator("#nav").get_by_role("link", name="Models").click()
    expect(page.locator("#models-room")).to_contain_text("In memory: scripted")
    page.get_by_label("Find a model").fill("v2-lite-chat")
    expect(card).to_have_count(1)
    page.get_by_role("button", name="Get DeepSeek-V2-Lite-Chat").click()
    expect(outcome).to_contain_text("Converting · 1.07 of 4.29 GB")
    expect(card.get_by_role("progressbar")).to_be_visible()  # on its card, too
    card.get_by_role("button", name="Pause loading").click()
    expect(outcome).to_contain_text("is paused; what was downloaded is kept")
    page.get_by_role("button", name="Resume DeepSeek-V2-Lite-Chat").click()
    expect(outcome).to_contain_text("Converting")
    other = open_page(served)  # another tab sees it, too, and can end it
    other.locator("#nav").get_by_role("link", name="Models").click()
    other.once("dialog", lambda dialog: dialog.accept())
    other.locator("#loads").get_by_role("button", name="Cancel loading").click()
    expect(other.locator("#loads")).to_contain_text("nothing of it is kept")
    assert not list(folder.glob("*.partial"))
    other.close()
    expect(page.get_by_role("button", name="Get DeepSeek-V2-Lite-Chat")).to_be_visible()
    go_on.set()
    page.get_by_role("button", name="Get DeepSeek-V2-Lite-Chat").click()
    expect(page.locator("#models-room")).to_contain_text(f"In memory: {REPO}")
    page.get_by_role("button", name=f"Unload {REPO}").click()
    expect(page.locator("#models-room")).to_contain_text("No model is in memory")
    expect(page.locator(MODEL)).to_contain_text("No model")


def test_a_paused_model_is_resumed_or_discarded_later(slowly, open_page):
    served, _, folder = slowly
    (folder / f"{readable(REPO)}-6bit-0123.partial" / "result").mkdir(parents=True)
    page = open_page(served)
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#nav").get_by_role("link", name="Models").click()
    card = page.locator(CARD).filter(has_text="DeepSeek-V2-Lite-Chat").first
    expect(card.get_by_label("Recipe for")).to_have_value("6bit")
    expect(card.get_by_role("button", name="Resume")).to_be_visible()
    card.get_by_role("button", name="Discard").click()
    expect(page.locator("#models-outcome")).to_contain_text("were removed")
    expect(page.get_by_role("button", name="Get DeepSeek-V2-Lite-Chat")).to_be_visible()
    assert not list(folder.glob("*.partial"))


def test_a_full_disk_is_told_before_a_download(site, open_page, monkeypatch):
    monkeypatch.setattr("mlx_deepseek_app.models.cards.free_disk_bytes", lambda: 10**9)
    page = open_page(site)
    page.locator("#nav").get_by_role("link", name="Models").click()
    page.get_by_label("Find a model").fill("v2-lite-chat")
    expect(page.locator(CARD)).to_have_count(1)
    expect(page.locator(CARD)).to_contain_text("of the disk as 8-bit, where 1.0 GB are free")
    expect(page.get_by_role("button", name="Get DeepSeek-V2-Lite-Chat")).to_have_count(0)
