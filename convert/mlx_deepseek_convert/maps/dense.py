"""Weight maps of Llama- and Qwen-shaped checkpoints: names stay."""

from collections.abc import Sequence

from mlx_deepseek.config import Json
from mlx_deepseek_convert.rules import Rule, copy, drop

LAYER = "model.layers.{layer}."

NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
ATTENTION = tuple(f"self_attn.{name}_proj.weight" for name in "qkvo")
MLP = tuple(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down"))
QWEN2_BIASES = tuple(f"self_attn.{name}_proj.bias" for name in "qkv")
QWEN3_NORMS = ("self_attn.q_norm.weight", "self_attn.k_norm.weight")

# Written by old versions of transformers; the model computes them from rope_theta.
INVERSE_FREQUENCIES = drop(LAYER + "self_attn.rotary_emb.inv_freq")


def outer(config: Json) -> tuple[Rule, ...]:
    """What surrounds the layers: embedding, final norm, head (a copy, if tied)."""
    tied = config.get("tie_word_embeddings", False)
    head = drop("lm_head.weight") if tied else copy("lm_head.weight")
    return copy("model.embed_tokens.weight"), copy("model.norm.weight"), head


def layers(*suffixes: str, prefix: str = LAYER) -> tuple[Rule, ...]:
    """Tensors that every layer has."""
    return tuple(copy(prefix + suffix) for suffix in suffixes)


def llama_rules(config: Json) -> Sequence[Rule]:
    """Llama: LLM, Coder V1, Math, Prover V1 and V1.5, R1-Distill-Llama."""
    biases: list[str] = []
    if config.get("attention_bias"):
        biases += [name.replace(".weight", ".bias") for name in ATTENTION]
    if config.get("mlp_bias"):
        biases += [name.replace(".weight", ".bias") for name in MLP]
    return (*outer(config), *layers(*NORMS, *ATTENTION, *MLP, *biases), INVERSE_FREQUENCIES)


def qwen2_rules(config: Json) -> Sequence[Rule]:
    """Qwen2: biases on queries, keys and values."""
    names = layers(*NORMS, *ATTENTION, *QWEN2_BIASES, *MLP)
    return (*outer(config), *names, INVERSE_FREQUENCIES)


def qwen3_rules(config: Json) -> Sequence[Rule]:
    """Qwen3: norms on each head's queries and keys."""
    names = layers(*NORMS, *ATTENTION, *QWEN3_NORMS, *MLP)
    return (*outer(config), *names, INVERSE_FREQUENCIES)
