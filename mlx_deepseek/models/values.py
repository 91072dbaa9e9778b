"""What kinds of value the keys of a config.json take, checked before anything is built of them."""

import math
from collections.abc import Mapping
from typing import Any

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.rope import Json

# Building more takes long and says nothing; no released model has a hundred.
MAX_LAYERS = 256
LARGEST = 1 << 22  # of all widths and numbers; the largest vocabulary has 2^17 tokens
DEEPEST = 6  # tables in tables

Range = tuple[int, int]

COUNTS: Mapping[str, Range] = {
    **dict.fromkeys(
        (
            "hidden_size",
            "intermediate_size",
            "moe_intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "vocab_size",
            "kv_lora_rank",
            "q_lora_rank",
            "n_routed_experts",
            "num_experts_per_tok",
            "n_group",
            "topk_group",
            "moe_layer_freq",
            "index_n_heads",
            "index_head_dim",
            "index_topk",
            "patch_size",
            "heads",
            "image_size",
            "input_dim",
            "n_embed",
            "downsample_ratio",
            "out_chans",
            "prompt_embed_dim",
            "hc_mult",
            "hc_sinkhorn_iters",
            "o_groups",
            "o_lora_rank",
        ),
        (1, LARGEST),
    ),
    **dict.fromkeys(
        ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "n_shared_experts"), (0, LARGEST)
    ),
    **dict.fromkeys(("first_k_dense_replace", "window_size", "sliding_window"), (0, LARGEST)),
    **dict.fromkeys(("num_hash_layers", "candidate_topk_blocks"), (0, LARGEST)),
    **dict.fromkeys(("num_hidden_layers", "layers", "depth"), (1, MAX_LAYERS)),
    "num_nextn_predict_layers": (0, MAX_LAYERS),
    "max_position_embeddings": (1, 1 << 31),
}
# Open ranges.
NUMBERS: Mapping[str, tuple[float, float]] = {
    "rms_norm_eps": (0.0, 1.0),
    "rope_theta": (1.0, 1e15),
    "routed_scaling_factor": (0.0, 1e6),
    "mlp_ratio": (0.0, 1e3),
    "hc_eps": (0.0, 1.0),
    "compress_rope_theta": (1.0, 1e15),
    "partial_rotary_factor": (0.0, 1.001),
}
FLAGS = frozenset(
    {"norm_topk_prob", "attention_bias", "mlp_bias", "tie_word_embeddings", "use_mla", "lm_head"}
    | {"use_sliding_window", "use_mrope", "rm_head", "token_pooling"}
)
WORDS = frozenset({"model_type", "hidden_act", "scoring_func", "topk_method"})


def check_values(config: Json, depth: int = 0) -> None:
    """Refuse values of the wrong kind or out of all range, in parts of a config too.

    Raises:
        ConfigError: names the key, its value and what it may be.
    """
    for key, value in config.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            if depth < DEEPEST and key not in ("quantization", "quantization_config"):
                check_values(value, depth + 1)
            if key == "width":  # DeepEncoder's, of each of its parts
                continue
        expected = wrong(key, value)
        if expected:
            raise ConfigError(
                f"config.json has {key} = {value!r:.60}. Expected {expected}; take config.json "
                "from the original repository."
            )


def wrong(key: str, value: Any) -> str:
    """What a key's value should have been; "" where it may be so."""
    if key in FLAGS:
        return "" if isinstance(value, bool) else "true or false"
    if key in WORDS:
        return "" if isinstance(value, str) else "a name"
    if key in COUNTS:
        low, high = COUNTS[key]
        whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if whole and low <= value <= high else f"a whole number from {low} to {high}"
    if key in NUMBERS:
        low, high = NUMBERS[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = number and low < value < high and math.isfinite(value)
        return "" if fits else f"a number between {low:g} and {high:g}"
    return ""
