"""The settings panel sends what is recommended until it has followed a model, then its own."""

from types import SimpleNamespace

import gradio as gr
import pytest

from mlx_deepseek_app.chat.composer import Composer
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs.model_info import ModelFacts, prepared
from mlx_deepseek_app.settings.panel import SettingsPanel
from mlx_deepseek_app.storage.store import Store
from tests.app import scripted

SHOWN = ("", True, "", 0, 0.05, 0, 16, "", "oldest", False, "", "")  # before they follow a model


@pytest.fixture
def panel():
    return made(Store())


def made(store):
    service = SimpleNamespace(engine=None, source="nano")
    with gr.Blocks():
        return SettingsPanel(service, store, Composer(service))


def test_before_the_page_has_loaded_the_models_own_values_are_sent(panel):
    settings = panel.read("", *SHOWN)
    assert (settings.temperature, settings.top_p, settings.max_tokens) == (None, None, None)
    options = prepared(scripted.load("scripted"), Conversation().ask("hi"), settings).options
    assert options["max_tokens"] is None
    assert options["sampling"].temperature is None
    followed = panel.read("scripted", *SHOWN)
    assert (followed.temperature, followed.top_p, followed.max_tokens) == (0, 0.05, 16)


@pytest.mark.parametrize("value", [None, "warm", float("nan"), True, [], {}])
def test_what_is_no_number_is_the_models_own_value(panel, value):
    numbers = (value, value, value, value)
    settings = panel.read("nano", "", True, "", *numbers, "", None, False, "", "")
    assert (settings.temperature, settings.top_p, settings.max_tokens) == (None, None, None)
    assert settings.top_k == 0


@pytest.mark.parametrize(("value", "kept"), [(-1, 0.0), (99, 2.0), (float("inf"), 2.0), (0.7, 0.7)])
def test_numbers_stay_within_the_sliders_ends(panel, value, kept):
    read = panel.read("nano", "", True, "", value, 1, 0, 16, "", "oldest", False, "", "")
    assert read.temperature == kept


@pytest.mark.parametrize("seed", ["eleven", "-1", "1.5", "9" * 30, "²"])
def test_a_seed_that_is_none_is_refused(panel, seed):
    with pytest.raises(gr.Error, match="Expected a whole number"):
        panel.read("nano", "", True, "", 0, 1, 0, 16, seed, "oldest", False, "", "")


MORE = (True, 0.1, 1.1, 0.5, float("nan"), "END\n\nSTOP\n")  # tools, then what few change


def test_stop_words_penalties_and_tools_are_read_and_sent(panel):
    settings = panel.read("nano", *SHOWN, *MORE)
    assert (settings.use_tools, settings.stop) == (True, ("END", "STOP"))
    assert (settings.min_p, settings.repetition_penalty) == (0.1, 1.1)
    assert (settings.presence_penalty, settings.frequency_penalty) == (0.5, 0.0)
    asked = Conversation().ask("hi")
    sent = prepared(scripted.load("scripted"), asked, settings, [{"a": 1}]).options
    assert (sent["stop"], sent["tools"]) == (("END", "STOP"), [{"a": 1}])
    assert (sent["sampling"].min_p, sent["sampling"].repetition_penalty) == (0.1, 1.1)
    assert panel.values(settings, ModelFacts(window=99))[panel.more.stop] == "END\nSTOP"


def test_a_model_begins_with_what_was_kept_for_it_until_it_is_reset(tmp_path):
    panel = made(Store(tmp_path))
    known = ModelFacts(window=4096, max_tokens=100, temperature=0.6, can_think=True)
    assert panel.on_model(known)[panel.temperature].value == 0.6
    panel.on_keep("nano", "Be brief.", *SHOWN[1:3], 0.3, *SHOWN[4:], *MORE)
    shown = panel.on_model(known)
    assert (shown[panel.temperature].value, shown[panel.system]) == (0.3, "Be brief.")
    assert shown[panel.tools.use].value is True
    panel.service.source = "other"
    assert panel.system not in panel.on_model(known)
    panel.service.source = "nano"
    panel.on_forget()
    assert panel.on_model(known)[panel.temperature].value == 0.6
    assert PanelSettings(stop=["a"]).stop == ("a",)
