"""DeepSeek-OCR-2 reads documents and answers in chats, as DeepSeek-OCR does."""

import json
import shutil

import pytest
from PIL import Image

import mlx_deepseek as ds
from mlx_deepseek.errors import ImageError
from mlx_deepseek.nano.ocr.tokenizer import BOS, EOS, build_tokenizer


@pytest.fixture(scope="module")
def engine(goldens_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "tiny-ocr2"
    shutil.copytree(goldens_root / "deepseek_ocr2", folder)
    build_tokenizer().save(str(folder / "tokenizer.json"))
    config = {"bos_token": BOS, "eos_token": EOS, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return ds.load(folder, dtype="float32")


@pytest.fixture
def page(goldens_root):
    return Image.open(goldens_root / "deepseek_ocr2" / "page.png").convert("RGB")


@pytest.mark.parametrize(("mode", "tokens"), [(None, 1120), ("gundam", 1120), ("base", 256)])
def test_read(engine, page, mode, tokens):
    """256 tokens of the view and 144 of each tile, as the paper counts them (§3.2)."""
    *_, last = engine.read(page, mode=mode, max_tokens=3)
    assert last.finish in ("stop", "length")
    assert not last.error
    assert last.cost.vision_tokens == tokens
    assert engine.modes == ("base", "gundam")


def test_modes_of_the_first_ocr_are_refused(engine, page):
    with pytest.raises(ImageError, match="base, gundam"):
        list(engine.read(page, mode="tiny"))


def test_chat(engine, page):
    assert engine.prompt_format.id == "ocr2"
    chat = engine.chat(max_tokens=2)
    first = chat.say("Free OCR.", images=[page])
    again = chat.say("Parse the figure.")
    assert first.usage.prompt_tokens == 1121 + len("\n") + 2
    assert again.usage.prompt_tokens > 1121
