"""System prompts to start from: those of the app, and one's own."""

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.command import serve
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.presets import PRESETS, Presets
from mlx_deepseek_app.storage.store import Store
from tests.app import scripted


def test_ones_own_presets_are_kept_replaced_and_forgotten(tmp_path):
    mine = Presets(Store(tmp_path), "a tab")
    assert mine.save("  my  pirate ", " Talk like a pirate. ") == "my pirate"
    mine.save("my pirate", "Arr.")
    later = Presets(Store(tmp_path), "another tab, another day")
    assert later.all() == PRESETS | {"my pirate": "Arr."}
    assert later.name_of("Arr. ") == "my pirate"
    assert later.name_of(PRESETS["editor"]) == "editor"
    assert later.name_of("something else") is None
    later.delete("my pirate")
    assert later.all() == PRESETS


def test_presets_of_the_app_stay_and_empty_ones_are_refused():
    mine = Presets(Store(), "tab")
    for name, text in (("editor", "x"), ("", "x"), ("name", "  "), (None, None)):
        with pytest.raises(StoreError):
            mine.save(name, text)
    with pytest.raises(StoreError):
        mine.delete("editor")


def test_in_memory_presets_go_with_their_tab():
    store = Store()
    Presets(store, "a").save("x", "y")
    assert Presets(store, "b").all() == PRESETS
    store.left("a")
    assert Presets(store, "a").all() == PRESETS


@pytest.mark.browser
def test_a_prompt_is_saved_under_a_name_and_there_in_the_next_tab(open_page, tmp_path):
    served = serve(lambda source, **_: scripted.load(source), "scripted", data=tmp_path)
    page = open_page(served)
    page.locator("#settings-button").click()
    preset, system = page.locator("#preset input"), page.locator("#system textarea")
    page.locator("#preset-save").click()
    expect(page.locator("#preset-note [role=alert]")).to_contain_text("Write a system prompt")
    system.fill("Talk like a <b>pirate</b>.")
    expect(preset).to_have_value("")
    preset.fill("Pirate")
    preset.press("Enter")
    expect(system).to_have_value("Talk like a <b>pirate</b>.")
    page.locator("#preset-save").click()
    expect(page.locator("#preset-note [role=alert]")).to_have_count(0)
    expect(preset).to_have_value("Pirate")
    other = open_page(served)
    other.locator("#settings-button").click()
    other.locator("#preset input").click()
    other.get_by_role("option", name="Pirate").click()
    expect(other.locator("#system textarea")).to_have_value("Talk like a <b>pirate</b>.")
    other.locator("#preset-delete").click()
    expect(other.locator("#system textarea")).to_have_value("")
    expect(other.locator("#preset input")).to_have_value("none")
    other.close()
    page.close()
    served.close()
