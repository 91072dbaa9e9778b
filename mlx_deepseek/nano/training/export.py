"""A trained model as a Hugging Face folder, in the names and layout of the release behind it.

The converter's own way back to a release gives the names.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from tokenizers import Tokenizer

from mlx_deepseek.checkpoint.converter import converter

GENERATION = {"bos_token_id": 0, "do_sample": False, "eos_token_id": 1, "pad_token_id": 2}


def export(
    weights: Mapping[str, mx.array],
    config: Mapping[str, Any],
    tokenizer: Tokenizer,
    spoken: Mapping[str, Any],
    folder: Path,
    card: str,
) -> None:
    """Write config, BF16 weights, tokenizer and model card to `folder`, replacing what is there.

    `spoken` are the keys of tokenizer_config.json. The correction bias stays in float32, as
    released.
    """
    stored = {
        name: value.astype(mx.float32 if name.endswith("correction_bias") else mx.bfloat16)
        for name, value in weights.items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        ours = Path(scratch) / "mlx"
        ours.mkdir()
        mx.save_safetensors(str(ours / "model.safetensors"), stored, {"format": "mlx"})
        tokenizer.save(str(ours / "tokenizer.json"))
        files = {"config": config, "generation_config": GENERATION, "tokenizer_config": spoken}
        for name, content in files.items():
            text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
            (ours / f"{name}.json").write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        converter().export(ours, folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
