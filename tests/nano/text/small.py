"""Nano's shape, smaller."""

import mlx.core as mx
from tokenizers import Tokenizer

from mlx_deepseek.nano.text.config import nano_config
from mlx_deepseek.nano.text.tokenizer import shipped_tokenizer

TOKENIZER: Tokenizer = shipped_tokenizer()
SMALL = nano_config(
    num_hidden_layers=2,
    hidden_size=32,
    intermediate_size=32,
    moe_intermediate_size=16,
    num_attention_heads=2,
    num_key_value_heads=2,
    q_lora_rank=32,
    kv_lora_rank=32,
)


def close(a: mx.array, b: mx.array) -> float:
    """The largest difference over the largest number."""
    return (mx.abs(a - b).max() / mx.abs(b).max()).item()
