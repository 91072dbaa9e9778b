"""Reads the config of DeepSeek-V4, a ratio by layer; of transformers 5, whose keys differ, too."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.compressed_attention import CompressedAttentionConfig
from mlx_deepseek.layers.compressor import CompressorConfig
from mlx_deepseek.layers.entry_indexer import EntryIndexerConfig
from mlx_deepseek.layers.hyper_connections import HyperConfig
from mlx_deepseek.layers.moe import MoEConfig
from mlx_deepseek.layers.rope import Json, RopeConfig, scaling_type
from mlx_deepseek.models.config import read_moe
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.decoder import DecoderConfig, DraftingConfig, LayerConfig

# How transformers 5 calls layers, and the ratios that releases have.
LAYER_TYPES: Mapping[str, int] = {
    "sliding_attention": 0,
    "compressed_sparse_attention": 4,
    "heavily_compressed_attention": 128,
}
OVERLAPS = 4  # the ratio at which a group's entry is made of the one before it, too
SCORINGS = ("sqrtsoftplus", "softmax", "sigmoid")
COMPUTED: Mapping[str, Any] = {
    "hidden_act": "silu",
    "attention_bias": False,
    "num_key_value_heads": 1,
    "tie_word_embeddings": False,
    "mlp_bias": False,
    "norm_topk_prob": True,  # whatever a file says, the reference always does it
}
# Of storage only.
UNREAD = {"expert_dtype", "output_router_logits", "router_aux_loss_coef", "router_jitter_noise"}


def read_v4(config: Json) -> DecoderConfig:
    """DeepSeek-V4's text model (arXiv:2606.19348).

    Raises:
        ConfigError: a key is missing, has a value we do not compute, or is unknown.
    """
    reader = start(config)
    ratios = read_ratios(reader)
    count = reader.need("num_hidden_layers")
    moe = read_moe(reader, scorings=SCORINGS, methods=("noaux_tc",))
    sees = reader.get("vision_dim", 0) > 0  # a bias for pictures is there without an encoder, too
    hashed = read_hashed(reader, count)

    def layer(index: int, ratio: int) -> LayerConfig:
        table = reader.need("vocab_size") if hashed[index : index + 1] == [True] else None
        return LayerConfig(v4_attention(reader, ratio), routed(moe, reader, table, sees))

    layers = tapped([layer(i, ratio) for i, ratio in enumerate(ratios[:count])], reader, "output")
    stages = ratios[count:] if reader.get("num_nextn_predict_layers", 0) else []
    mtp = tuple(layer(count + i, ratio) for i, ratio in enumerate(stages))
    return assemble(reader, layers, mtp, delayed=False)


def tapped(layers: Sequence[LayerConfig], reader: ConfigReader, where: str) -> list[LayerConfig]:
    """The layers, those marked whose "input" or "output" a drafter reads."""
    targets = reader.get("dspark_target_layer_ids", [])
    return [
        replace(layer, tapped=where) if index in targets else layer
        for index, layer in enumerate(layers)
    ]


def start(config: Json) -> ConfigReader:
    """A reader that has seen what every V4 has, and what says nothing about the computation."""
    reader = ConfigReader(config)
    for key, value in COMPUTED.items():
        reader.only(key, value)
    turns, width = reader.need("qk_rope_head_dim"), reader.need("head_dim")
    share = reader.get("partial_rotary_factor", turns / width)
    if int(share * width) != turns:
        raise ConfigError(
            f"config.json of model type {reader.name!r} has partial_rotary_factor = {share!r:.60} "
            f"and qk_rope_head_dim = {turns}. Expected the same share of {width}."
        )
    reader.seen |= UNREAD
    return reader


def assemble(
    reader: ConfigReader,
    layers: Sequence[LayerConfig],
    mtp: Sequence[LayerConfig],
    *,
    delayed: bool,
) -> DecoderConfig:
    """The decoder of these layers."""
    decoder = DecoderConfig(
        model_type=reader.need("model_type"),
        vocab=reader.need("vocab_size"),
        hidden=reader.need("hidden_size"),
        dense_width=0,
        eps=float(reader.get("rms_norm_eps", 1e-6)),
        layers=tuple(layers),
        mtp=tuple(mtp),
        hyper=HyperConfig(
            hidden=reader.need("hidden_size"),
            copies=reader.need("hc_mult"),
            iterations=reader.need("hc_sinkhorn_iters"),
            eps=float(reader.get("hc_eps", 1e-6)),
            norm_eps=float(reader.get("rms_norm_eps", 1e-6)),
            delayed=delayed,
        ),
        drafting=read_drafting(reader),
    )
    reader.seen |= {key for key in reader.config if key.startswith("vision_")}  # read elsewhere
    reader.finish()
    return decoder


def read_ratios(reader: ConfigReader) -> list[int]:
    """Tokens per entry of each layer, 0 for the window alone; MTP layers' come last."""
    ratios = reader.get("compress_ratios", None)
    types = reader.get("layer_types", None)
    rates = {**LAYER_TYPES, **reader.get("compress_rates", {})}
    extra = reader.get("num_nextn_predict_layers", 0)
    if ratios is None and types is not None:
        unknown = sorted(set(types) - set(rates))
        if unknown:
            raise ConfigError(
                f"config.json of model type {reader.name!r} has layers of type {unknown[0]!r}; "
                f"this version computes {', '.join(rates)}."
            )
        ratios = [rates[kind] for kind in types] + [0] * extra
    count = reader.need("num_hidden_layers")
    if types is not None and len(types) != count:
        raise ConfigError(
            f"config.json of model type {reader.name!r} has {len(types)} layer_types for {count} "
            "layers. Expected one each."
        )
    if ratios is None or len(ratios) < count or not all(type(r) is int and r >= 0 for r in ratios):
        raise ConfigError(
            f"config.json of model type {reader.name!r} has compress_ratios {ratios!r:.80}. "
            f"Expected a number for each of {count} layers, and for MTP layers after them."
        )
    return list(ratios)


def read_hashed(reader: ConfigReader, count: int) -> list[bool]:
    """Which layers look their experts up by token number."""
    kinds = reader.get("mlp_layer_types", None)
    hashed = reader.get("num_hash_layers", 0)
    if kinds is not None:
        return [kind == "hash_moe" for kind in kinds]
    return [index < hashed for index in range(count)]


def read_rope(reader: ConfigReader, dim: int, *, compressed: bool) -> RopeConfig:
    """The rotation of the last channels of `dim`; a window's has another base and no YaRN.

    Unlike in V2 and V3, YaRN scales neither the vectors nor the softmax.
    """
    parameters = reader.get("rope_parameters", {})
    reader.seen |= {"rope_theta", "compress_rope_theta"}
    own = parameters.get("compress" if compressed else "main", {})
    scaling = reader.get("rope_scaling", None)
    if scaling is None and scaling_type(own or parameters) != "default":
        scaling = own or parameters
    key = "compress_rope_theta" if compressed else "rope_theta"
    turning = reader.need("qk_rope_head_dim")
    return RopeConfig(
        dims=turning,
        theta=float(own.get("rope_theta") or reader.get(key, 160_000 if compressed else 10_000)),
        scaling={**scaling, "mscale": 0, "mscale_all_dim": 0} if compressed and scaling else None,
        leading=dim - turning,
    )


def read_attention(
    reader: ConfigReader, ratio: int, *, query_norm: bool
) -> CompressedAttentionConfig:
    """A layer's attention, without what makes and finds entries."""
    dim = reader.need("head_dim")
    heads, groups = reader.need("num_attention_heads"), reader.need("o_groups")
    if heads % groups:
        raise ConfigError(
            f"config.json of model type {reader.name!r}: {heads} heads cannot be split into "
            f"o_groups {groups}."
        )
    return CompressedAttentionConfig(
        hidden=reader.need("hidden_size"),
        heads=heads,
        dim=dim,
        query_rank=reader.need("q_lora_rank"),
        output_groups=groups,
        output_rank=reader.need("o_lora_rank"),
        window=reader.need("sliding_window"),
        eps=float(reader.get("rms_norm_eps", 1e-6)),
        rope=read_rope(reader, dim, compressed=ratio > 0),
        query_norm=query_norm,
        ratio=ratio,
    )


def read_indexer(reader: ConfigReader) -> EntryIndexerConfig:
    """An indexer's sizes, without where its keys come from."""
    dim = reader.need("index_head_dim")
    return EntryIndexerConfig(
        hidden=reader.need("hidden_size"),
        query_rank=reader.need("q_lora_rank"),
        heads=reader.need("index_n_heads"),
        dim=dim,
        topk=reader.need("index_topk"),
        eps=float(reader.get("rms_norm_eps", 1e-6)),
        rope=read_rope(reader, dim, compressed=True),
    )


def v4_attention(reader: ConfigReader, ratio: int) -> CompressedAttentionConfig:
    """V4's: every compressed layer has a compressor; those that overlap also have an indexer."""
    attention, indexer = read_attention(reader, ratio, query_norm=True), read_indexer(reader)
    attention = replace(attention, spans=reader.get("vision_max_n_token", 0))
    if not ratio:
        return attention
    overlap = ratio == OVERLAPS

    def compressor(dim: int) -> CompressorConfig:
        return CompressorConfig(attention.hidden, dim, ratio, attention.eps, overlap=overlap)

    return replace(
        attention,
        compressor=compressor(attention.dim),
        indexer=replace(indexer, compressor=compressor(indexer.dim)) if overlap else None,
    )


def routed(moe: MoEConfig | None, reader: ConfigReader, table: int | None, sees: bool) -> MoEConfig:
    """A layer's experts; with a `table` they are looked up by token number."""
    if moe is None:
        reader.need("n_routed_experts")
    assert moe is not None
    limit = reader.need("swiglu_limit")  # 0: none
    return replace(
        moe,
        router=replace(moe.router, table=table, pictures=sees),
        limit=float(limit) if limit else None,
    )


def read_drafting(reader: ConfigReader) -> DraftingConfig | None:
    """DSpark's sizes; None: V4's preview, whose extra layer predicts one token further."""
    block = reader.get("dspark_block_size", None)
    if block is None:
        return None
    return DraftingConfig(
        block=block,
        noise_token=reader.need("dspark_noise_token_id"),
        targets=len(reader.need("dspark_target_layer_ids")),
        markov_rank=reader.need("dspark_markov_rank"),
    )
