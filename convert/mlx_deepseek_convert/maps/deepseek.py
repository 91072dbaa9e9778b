"""Weight maps of DeepSeek's own architectures: MoE-16B, V2, V3 and V3.2 (with MTP layers)."""

from collections.abc import Iterator, Sequence

from mlx_deepseek.config import Json
from mlx_deepseek_convert.maps.dense import ATTENTION, INVERSE_FREQUENCIES, MLP, NORMS, outer
from mlx_deepseek_convert.ops import SplitHeads, Stack
from mlx_deepseek_convert.rules import Rule, copy

DECODER = "model.layers.{layer}.", "model.layers.{layer}."
MTP = "model.layers.{mtp}.", "mtp.{mtp}."

FULL_QUERY = ("self_attn.q_proj.weight",)
LOW_RANK_QUERY = tuple(f"self_attn.{n}.weight" for n in ("q_a_proj", "q_a_layernorm", "q_b_proj"))
LATENT = tuple(
    f"self_attn.{name}.weight" for name in ("kv_a_proj_with_mqa", "kv_a_layernorm", "o_proj")
)
BIASED = "q_a_proj", "kv_a_proj_with_mqa", "o_proj"  # with attention_bias
KV_B = "self_attn.kv_b_proj.weight"
INDEXER = tuple(
    f"self_attn.indexer.{name}"
    for name in ("wq_b.weight", "wk.weight", "k_norm.weight", "k_norm.bias", "weights_proj.weight")
)
MTP_OWN = (
    "embed_tokens.weight",
    "enorm.weight",
    "hnorm.weight",
    "eh_proj.weight",
    "shared_head.norm.weight",
    "shared_head.head.weight",
)


def v1_rules(config: Json) -> Sequence[Rule]:
    """DeepSeekMoE-16B."""
    names = (*NORMS, *ATTENTION)
    block = (*_copies(DECODER, names), *_feed_forward(DECODER))
    return (*outer(config), *block, INVERSE_FREQUENCIES)


def v2_rules(config: Json) -> Sequence[Rule]:
    """DeepSeek-V2: keeps `kv_b_proj` whole, as mlx-lm does for this architecture."""
    names = (*NORMS, *_latent_attention(config), KV_B)
    block = (*_copies(DECODER, names), *_feed_forward(DECODER))
    return (*outer(config), *block, INVERSE_FREQUENCIES)


def v3_rules(config: Json) -> Sequence[Rule]:
    """DeepSeek-V3: splits `kv_b_proj` per head; layers past num_hidden_layers are MTP layers."""
    return _v3_layout(config, (*NORMS, *_latent_attention(config)))


def v32_rules(config: Json) -> Sequence[Rule]:
    """DeepSeek-V3.2: V3 with an indexer in every layer, MTP layers included."""
    return _v3_layout(config, (*NORMS, *_latent_attention(config), *INDEXER))


def _v3_layout(config: Json, names: Sequence[str]) -> Sequence[Rule]:
    split = SplitHeads(config["qk_nope_head_dim"], config["v_head_dim"])

    def block(place: tuple[str, str], optional: bool) -> Iterator[Rule]:
        source, target = place
        halves = f"{target}self_attn.embed_q.weight", f"{target}self_attn.unembed_out.weight"
        yield from _copies(place, names, optional)
        yield Rule(source + KV_B, halves, split, optional)
        yield from _feed_forward(place)

    mtp = (*block(MTP, True), *_copies(MTP, MTP_OWN, True))
    return (*outer(config), *block(DECODER, False), *mtp, INVERSE_FREQUENCIES)


def _copies(place: tuple[str, str], names: Sequence[str], optional: bool = False) -> Iterator[Rule]:
    source, target = place
    for name in names:
        yield copy(source + name, target + name, optional=optional)


def _latent_attention(config: Json) -> tuple[str, ...]:
    query = FULL_QUERY if config.get("q_lora_rank") is None else LOW_RANK_QUERY
    names = [*query, *LATENT]
    if config.get("attention_bias"):
        names += [f"self_attn.{name}.bias" for name in BIASED]
    return tuple(names)


def _feed_forward(place: tuple[str, str]) -> Iterator[Rule]:
    """Dense or routed; optional, since the config decides which layers are what."""
    source, target = place
    names = (
        *MLP,
        "mlp.gate.weight",
        "mlp.gate.e_score_correction_bias",
        *(name.replace("mlp.", "mlp.shared_experts.") for name in MLP),
    )
    yield from _copies(place, names, optional=True)
    for name in MLP:
        expert = source + name.replace("mlp.", "mlp.experts.{expert}.")
        stacked = target + name.replace("mlp.", "mlp.switch_mlp.")
        yield Rule(expert, (stacked,), Stack(), optional=True)
