"""Reads the config of DeepSeek-V4.1: as V4, with entries that layers share, and with Engrams."""

from dataclasses import replace
from typing import Any

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.compressed_attention import CompressedAttentionConfig
from mlx_deepseek.layers.compressor import CompressorConfig
from mlx_deepseek.layers.engram import EngramConfig, HashConfig, multipliers, table_sizes
from mlx_deepseek.layers.entry_indexer import CandidateConfig
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.compressed_config import (
    SCORINGS,
    assemble,
    read_attention,
    read_indexer,
    read_ratios,
    routed,
    start,
    tapped,
)
from mlx_deepseek.models.config import read_moe
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.decoder import DecoderConfig, LayerConfig


def read_v41(config: Json) -> DecoderConfig:
    """DeepSeek-V4.1's text model (arXiv:2609.19969): some layers make entries, others read them.

    Raises:
        ConfigError: as `read_v4`.
    """
    reader = start(config)
    ratios, count = read_ratios(reader), reader.need("num_hidden_layers")
    moe = read_moe(reader, scorings=SCORINGS, methods=("noaux_tc",))
    engrams = read_engrams(reader)
    layers = [
        LayerConfig(v41_attention(reader, i, r), routed(moe, reader, None, True), engrams.get(i))
        for i, r in enumerate(ratios[:count])
    ]
    drafts = None
    if moe is not None:
        experts = reader.get("dspark_n_routed_experts", moe.router.experts)
        chosen = reader.get("dspark_num_experts_per_tok", moe.router.per_token)
        drafts = replace(moe, router=replace(moe.router, experts=experts, per_token=chosen))
    stages = ratios[count:] if reader.get("num_nextn_predict_layers", 0) else []
    mtp = tuple(
        LayerConfig(read_attention(reader, 0, query_norm=False), routed(drafts, reader, None, True))
        for _ in stages
    )
    return assemble(reader, tapped(layers, reader, "input"), mtp, delayed=True)


def v41_attention(reader: ConfigReader, index: int, ratio: int) -> CompressedAttentionConfig:
    """V4.1's: sources of entries, sources of choices, and layers that use what these left."""
    attention = read_attention(reader, ratio, query_norm=False)
    makes = index in reader.need("kv_source_layer_ids")
    chooses = index in reader.need("index_source_layer_ids")
    blocks = read_candidates(reader, index)
    compressor = CompressorConfig(
        attention.hidden, attention.dim, ratio, attention.eps, biased=False
    )
    indexer = replace(
        read_indexer(reader), key_input=attention.dim if makes else None, candidates=blocks
    )
    return replace(
        attention,
        compressor=compressor if makes and ratio else None,
        indexer=indexer if chooses and ratio else None,
    )


def read_candidates(reader: ConfigReader, index: int) -> CandidateConfig | None:
    """The blocks among which a layer chooses, or chooses for later layers; None before these."""
    source = reader.get("candidate_source_layer_id", -1)
    blocks, size = reader.get("candidate_topk_blocks", 0), reader.get("candidate_block_size", 1)
    if source < 0 or index < source or not blocks:
        return None
    return CandidateConfig(blocks, size, chosen_here=index == source)


def read_engrams(reader: ConfigReader) -> dict[int, EngramConfig]:
    """The layers that have an Engram."""
    places: list[int] = reader.get("engram_layer_ids", [])
    keys = ("max_ngram_size", "n_heads", "vocab_size", "head_dim", "pad_token_id")
    names = (*keys, "compressed_vocab_size", "num_embeddings")
    reader.seen |= {f"engram_{name}" for name in names}
    if not places:
        return {}
    longest, heads, least, dim, pad = (reader.need(f"engram_{key}") for key in keys)
    vocab, rows = reader.need("engram_compressed_vocab_size"), reader.need("engram_num_embeddings")
    sizes = table_sizes(len(places), longest, heads, least)
    found: dict[int, EngramConfig] = {}
    for place, parts, count in zip(places, sizes, rows, strict=True):
        if sum(map(sum, parts)) != count:
            raise ConfigError(
                f"config.json of model type {reader.name!r} has engram_num_embeddings {rows}; the "
                f"tables of layer {place} have {sum(map(sum, parts))} rows by their primes."
            )
        hashes = HashConfig(parts, multipliers(place, longest, vocab), pad, vocab)
        found[place] = EngramConfig(
            hidden=reader.need("hidden_size"),
            copies=reader.need("hc_mult"),
            rows=count,
            dim=dim,
            eps=float(reader.get("rms_norm_eps", 1e-6)),
            hash=hashes,
        )
    return found


def text_of(config: Json) -> dict[str, Any]:
    """V4.1's text model, whose config stands in the whole one's, as a config of its own."""
    text = dict(config.get("text_config") or {})
    return {**text, "model_type": config.get("model_type")}
