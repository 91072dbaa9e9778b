"""Writes a trained nano as a Hugging Face folder in DeepSeek-V3's own layout and names."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from tokenizers import Tokenizer

from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.nano.tokenizer import write_tokenizer

GENERATION = {"bos_token_id": 0, "do_sample": False, "eos_token_id": 1, "pad_token_id": 2}


def export(
    model: CausalLM, config: Mapping[str, Any], tokenizer: Tokenizer, folder: Path, card: str
) -> None:
    """Write config, BF16 weights, tokenizer and model card to `folder`, replacing what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    template = (files("mlx_deepseek.nano") / "chat_template.jinja").read_text(encoding="utf-8")
    write_tokenizer(tokenizer, folder, template, config["max_position_embeddings"])
    for name, content in (("config", config), ("generation_config", GENERATION)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    tensors = released_names(model, config["num_hidden_layers"])
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, {"format": "pt"})
    (folder / "README.md").write_text(card, encoding="utf-8")


def released_names(model: CausalLM, layers: int) -> dict[str, mx.array]:
    """The parameters under the names and in the shapes of DeepSeek-V3's release.

    BF16, but the correction bias in float32, as released. The MTP layer gets its copies of
    embedding and head, which training ties to the main ones.
    """
    parameters: dict[str, mx.array] = dict(tree_flatten(model.parameters()))  # type: ignore[arg-type]
    parameters["mtp.0.embed_tokens.weight"] = parameters["model.embed_tokens.weight"]
    parameters["mtp.0.shared_head.head.weight"] = parameters["lm_head.weight"]
    tensors = {}
    for name, value in parameters.items():
        released = name
        if name.startswith("mtp."):
            _, index, rest = name.split(".", 2)
            released = f"model.layers.{layers + int(index)}.{rest}"
        if ".embed_q." in name:
            up = parameters[name.replace("embed_q", "unembed_out")]
            value = joined_up_projections(value, up)
            tensors[released.replace("embed_q", "kv_b_proj")] = value
        elif ".switch_mlp." in name:
            for expert, matrix in enumerate(value):
                tensors[released.replace("switch_mlp", f"experts.{expert}")] = matrix
        elif ".unembed_out." not in name:
            tensors[released] = value
    return {name: _stored(name, value) for name, value in tensors.items()}


def joined_up_projections(embed_q: mx.array, unembed_out: mx.array) -> mx.array:
    """kv_b_proj [H * (N + V), R] of embed_q [H, R, N] and unembed_out [H, V, R]."""
    both = mx.concatenate([embed_q.swapaxes(-1, -2), unembed_out], axis=1)
    return both.reshape(-1, both.shape[-1])


def _stored(name: str, value: mx.array) -> mx.array:
    exact = name.endswith("e_score_correction_bias")
    return value.astype(mx.float32 if exact else mx.bfloat16)
