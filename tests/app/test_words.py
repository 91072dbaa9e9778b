"""The dictionary of the page in Chinese: well formed, and with every word of the page in it."""

import json
import re
from html import unescape
from typing import Any

from mlx_deepseek_app import page as view
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.served_model import ServedModel
from mlx_deepseek_app.server.site import build as api_of
from mlx_deepseek_app.storage import presets
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.widgets import theme

TEXT = (theme.STATIC / "chinese.json").read_text(encoding="utf-8")
WORDS: dict[str, str] = json.loads(TEXT)
SLOT = re.compile(r"\{(\w+)\}")
HAN = re.compile(r"[\u4e00-\u9fff]")
SAID_ALIKE = {"中文", "Top p", "Top k", "Min p", "{n} tokens", "{n} of {m}"}
PROPS = ("label", "info", "placeholder", "choices")
# a name, HTML, JSON, a prompt that is sent as it is, what no eye sees
NO_WORDS = re.compile(
    r"nano\b.*|claude|codex|aider|opencode|<h1.*|[\[{]+\".*|[‹›]|\W*"
    r"|What is 347 \+ 586\?|mlx-deepseek"
)


def test_no_text_is_there_twice():
    pairs = json.loads(TEXT, object_pairs_hook=list)
    texts = [text for text, _ in pairs]
    assert sorted(texts) == sorted(set(texts))


def test_translations_are_chinese_and_keep_the_values():
    for text, said in WORDS.items():
        slots = SLOT.findall(text)
        assert HAN.search(said) or text in SAID_ALIKE, text
        assert sorted(SLOT.findall(said)) == sorted(set(slots)) == sorted(slots), text
        assert (text, said) == (text.strip(), said.strip())


def test_no_pattern_takes_everything():
    for text in filter(SLOT.search, WORDS):
        assert re.search(r"\w|:", SLOT.sub("", text)), text


def test_the_script_cannot_be_left_from_the_dictionary():
    assert "</" not in theme.chinese()
    assert json.loads(theme.chinese()) == WORDS


def test_every_component_of_the_page_is_in_the_dictionary():
    service = ModelService(lambda source, **_: None)
    site = api_of(ServedModel(service)).state.site
    page = view.build(service, Store(), site)
    missing = {text for text in component_texts(dict(page.config)) if not known(text)}
    assert not missing, f"add to chinese.json: {sorted(missing)}"


def test_every_preset_is_in_the_dictionary():
    assert set(presets.PRESETS) <= set(WORDS)


def component_texts(config: dict[str, Any]) -> set[str]:
    """The labels, hints and choices that the components show at first."""
    found: set[str] = set()
    for component in config["components"]:
        props = component["props"]
        for name in PROPS:
            found |= set(strings(props.get(name)))
        if component["props"].get("elem_classes") == ["chips"]:
            continue  # prompts, which are sent as they are
        if component["type"] in ("button", "downloadbutton", "html", "tabitem"):
            found |= set(strings(props.get("value")))
    return found


def strings(value: Any) -> list[str]:
    """The texts in a property; of a choice what is shown, of HTML its texts."""
    if isinstance(value, str):
        return [unescape(text).strip() for text in re.split(r"<[^>]*>", value)]
    choices = value if isinstance(value, list | tuple) else []
    return [text for choice in choices for text in strings(choice[0])]


def known(text: str) -> bool:
    """Whether the dictionary knows a text, as it is or as a pattern."""
    return bool(NO_WORDS.fullmatch(text)) or text in WORDS or any(map(pattern(text), WORDS))


def pattern(text: str) -> Any:
    """Whether an entry of the dictionary is a pattern of `text`."""
    return lambda entry: (
        "{" in entry
        and re.fullmatch(".+?".join(map(re.escape, SLOT.split(entry)[::2])), text, re.DOTALL)
    )
