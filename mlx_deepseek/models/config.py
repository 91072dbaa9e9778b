"""A released config.json, read into the few numbers that each part of a model needs.

Dimension legend, the same in every file: B batch, L new tokens, S cached tokens, H heads, D model
width, Q query rank, R kv rank, N nope dim, P rope dim, V value dim, E experts, K experts per token,
F expert width.
"""

from collections.abc import Sequence
from dataclasses import replace

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.indexer import IndexerConfig
from mlx_deepseek.layers.mha import MHAConfig
from mlx_deepseek.layers.mla import MLAConfig
from mlx_deepseek.layers.moe import MoEConfig
from mlx_deepseek.layers.rope import Json, RopeConfig
from mlx_deepseek.layers.routing import RouterConfig
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.decoder import DecoderConfig, LayerConfig

KV_HEADS = "num_key_value_heads"


def read_rope(reader: ConfigReader, dims: int, *, interleaved: bool) -> RopeConfig:
    """The rotary embedding of `dims` channels, from rope_theta and rope_scaling."""
    scaling = reader.get("rope_scaling", None)
    if dims % 2:
        raise ConfigError(
            f"config.json of model type {reader.name!r} rotates {dims} channels of each "
            "head (qk_rope_head_dim or head_dim). Expected an even number."
        )
    if scaling is not None and scaling.get("attn_factor", 1) != 1:
        raise ConfigError(
            f"config.json of model type {reader.name!r} has attn_factor = "
            f"{scaling['attn_factor']!r:.60} in rope_scaling; this version computes 1 and would "
            "give wrong results."
        )
    return RopeConfig(
        dims=dims,
        theta=float(reader.get("rope_theta", 10_000.0)),
        interleaved=interleaved,
        scaling=scaling,
    )


def read_mla(reader: ConfigReader) -> MLAConfig:
    """Multi-head Latent Attention's dimensions (DeepSeek-V2 and later)."""
    reader.seen.add(KV_HEADS)  # equal to the heads in every release, and unused
    return MLAConfig(
        hidden=reader.need("hidden_size"),
        heads=reader.need("num_attention_heads"),
        query_rank=reader.get("q_lora_rank", None),
        kv_rank=reader.need("kv_lora_rank"),
        nope_dim=reader.need("qk_nope_head_dim"),
        value_dim=reader.need("v_head_dim"),
        rope=read_rope(reader, reader.need("qk_rope_head_dim"), interleaved=True),
        bias=reader.get("attention_bias", False),
    )


def read_sparse_mla(reader: ConfigReader) -> MLAConfig:
    """The same with the indexer's dimensions (DeepSeek-V3.2)."""
    indexer = IndexerConfig(
        hidden=reader.need("hidden_size"),
        query_rank=reader.need("q_lora_rank"),
        heads=reader.need("index_n_heads"),
        dim=reader.need("index_head_dim"),
        topk=reader.need("index_topk"),
        # Halves, unlike MLA's pairs; the first published demo had it wrong.
        rope=read_rope(reader, reader.need("qk_rope_head_dim"), interleaved=False),
    )
    return replace(read_mla(reader), indexer=indexer)


def read_mha(reader: ConfigReader) -> MHAConfig:
    """Multi-head attention's dimensions (DeepSeekMoE-16B)."""
    hidden, heads = reader.need("hidden_size"), reader.need("num_attention_heads")
    head_dim, groups = reader.get("head_dim", hidden // heads), reader.get(KV_HEADS, heads)
    if heads % groups:
        raise ConfigError(
            f"config.json of model type {reader.name!r} has {heads} heads in {groups} groups. "
            "Expected numbers that divide into each other."
        )
    return MHAConfig(
        hidden=hidden,
        heads=heads,
        kv_heads=groups,
        head_dim=head_dim,
        rope=read_rope(reader, head_dim, interleaved=False),
        bias=reader.get("attention_bias", False),
    )


ATTENTIONS = {"mla": read_mla, "sparse_mla": read_sparse_mla, "mha": read_mha}


# What VL2's code computes; the architectures of text alone compute less.
SCORINGS = ("softmax", "sigmoid")
METHODS = ("greedy", "group_limited_greedy", "noaux_tc")


def read_moe(
    reader: ConfigReader, *, scorings: Sequence[str] = SCORINGS, methods: Sequence[str] = METHODS
) -> MoEConfig | None:
    """Experts and router; of `scorings` and `methods` the architecture's, the first is the default.

    How experts are weighed must be said where the scores are no softmax: transformers and
    DeepSeek's code then assume other values than before V3.
    """
    experts = reader.get("n_routed_experts", None)
    if experts is None:
        return None
    width = reader.need("moe_intermediate_size")
    if scorings[0] != "softmax":
        reader.need("norm_topk_prob")
        reader.need("routed_scaling_factor")
    if scorings[0] == "sigmoid":
        reader.need("n_group")
        reader.need("topk_group")
    router = RouterConfig(
        hidden=reader.need("hidden_size"),
        experts=experts,
        per_token=reader.need("num_experts_per_tok"),
        scoring=reader.only("scoring_func", *scorings),
        method=reader.only("topk_method", *methods),
        groups=reader.get("n_group", 1),
        groups_kept=reader.get("topk_group", 1),
        normalise=reader.get("norm_topk_prob", False),
        scale=float(reader.get("routed_scaling_factor", 1.0)),
    )
    if router.normalise and router.per_token == 1 and scorings[0] != "sqrtsoftplus":
        raise ConfigError(
            f"config.json of model type {reader.name!r} has norm_topk_prob and "
            "num_experts_per_tok = 1, which DeepSeek's code and transformers read differently. "
            "Expected several experts, or norm_topk_prob = false."
        )
    each = experts // router.groups  # experts in a group; its best two are its score
    scored = 2 if router.method == "noaux_tc" and router.groups > 1 else 1
    kept = min(router.groups_kept, router.groups)
    if (
        experts % router.groups
        or kept < router.groups_kept
        or router.per_token > each * (kept if router.method != "greedy" else router.groups)
        or each < scored
    ):
        raise ConfigError(
            f"config.json of model type {reader.name!r}: {experts} experts cannot be split into "
            f"{router.groups} groups, of which {router.groups_kept} are kept, with "
            f"{router.per_token} chosen per token."
        )
    return MoEConfig(
        router=router, width=width, shared_width=width * reader.get("n_shared_experts", 0)
    )


def read_layers(
    reader: ConfigReader, attention: MLAConfig | MHAConfig, moe: MoEConfig | None
) -> tuple[tuple[LayerConfig, ...], tuple[LayerConfig, ...]]:
    """Decoder layers, of which the first have a dense MLP, and MTP layers, numbered after them."""
    first = reader.get("first_k_dense_replace", 0)
    every = reader.get("moe_layer_freq", 1)
    count, extra = reader.need("num_hidden_layers"), reader.get("num_nextn_predict_layers", 0)
    layers = tuple(
        LayerConfig(attention, moe if i >= first and i % every == 0 else None)
        for i in range(count + extra)
    )
    return layers[:count], layers[count:]


def read_decoder(
    config: Json,
    attention: str,
    *,
    scorings: Sequence[str] = SCORINGS,
    methods: Sequence[str] = METHODS,
) -> DecoderConfig:
    """Read a whole DeepSeek config; `attention` is one of ATTENTIONS, the rest as in `read_moe`.

    Raises:
        ConfigError: a key is missing, has a value we do not compute, or is unknown.
    """
    reader = ConfigReader(config)
    reader.only("hidden_act", "silu")
    moe = read_moe(reader, scorings=scorings, methods=methods)
    layers, mtp = read_layers(reader, ATTENTIONS[attention](reader), moe)
    decoder = DecoderConfig(
        model_type=reader.need("model_type"),
        vocab=reader.need("vocab_size"),
        hidden=reader.need("hidden_size"),
        dense_width=reader.need("intermediate_size"),
        eps=float(reader.get("rms_norm_eps", 1e-6)),
        layers=layers,
        mtp=mtp,
        tied_head=reader.get("tie_word_embeddings", False),
    )
    reader.finish()
    return decoder
