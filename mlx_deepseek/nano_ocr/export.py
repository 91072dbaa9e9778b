"""A trained nano-ocr as a Hugging Face folder in DeepSeek-OCR's own layout and names."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from tokenizers import Tokenizer

from mlx_deepseek.converters import converter
from mlx_deepseek.nano_ocr.tokenizer import BOS, EOS, PAD

GENERATION = {"bos_token_id": 0, "do_sample": False, "eos_token_id": 1, "pad_token_id": 2}


def export(
    model: nn.Module, config: Mapping[str, Any], tokenizer: Tokenizer, folder: Path, card: str
) -> None:
    """Write config, BF16 weights, tokenizer and model card to `folder`, replacing what is there.

    The converter's own way back to a release gives the names.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ours = Path(scratch) / "mlx"
        ours.mkdir()
        flat: dict[str, mx.array] = dict(tree_flatten(model.parameters()))  # type: ignore[arg-type]
        flat = {name: value for name, value in flat.items() if not name.startswith("glyph_head")}
        weights = {name: value.astype(mx.bfloat16) for name, value in flat.items()}
        mx.save_safetensors(str(ours / "model.safetensors"), weights, {"format": "mlx"})
        for name, content in (("config", config), ("generation_config", GENERATION)):
            (ours / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
        write_tokenizer(tokenizer, ours, config["language_config"]["max_position_embeddings"])
        shutil.rmtree(folder, ignore_errors=True)
        converter().export(ours, folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": False,
        "bos_token": BOS,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "model_max_length": context,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
