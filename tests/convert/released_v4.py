"""Tensors of DeepSeek-V4's and V4.1's releases, written down apart from the weight maps.

Their totals are those of the published indexes: 72,317 tensors in V4-Flash-0731, 149,782 in
V4-Pro-0813, 96,085 in V4.1-Flash.
"""

from collections.abc import Iterator

Stored = Iterator[tuple[str, str, tuple[int, ...]]]  # name, dtype, shape

PICTURE_TOKENS = ("image_start", "image_end", "image_newline")


def v4(config: dict) -> Stored:
    """Everything that the release of a V4 or V4.1 config stores."""
    nested = "text_config" in config
    text = config["text_config"] if nested else config
    block = 32 if nested else 128
    hidden, layers = text["hidden_size"], text["num_hidden_layers"]
    yield "embed.weight", "BF16", (text["vocab_size"], hidden)
    yield "head.weight", "BF16", (text["vocab_size"], hidden)
    yield "norm.weight", "BF16", (hidden,)
    if not nested:
        yield from _head("", text)
    sees = nested or "vision_n_layers" in text
    for index in range(layers):
        prefix = f"layers.{index}."
        hashed = not nested and index < text["num_hash_layers"]
        experts = text["n_routed_experts"]
        yield from _layer(prefix, text, block, experts, hashed=hashed, sees=sees)
        shared = _v41_parts if nested else _v4_parts
        yield from shared(prefix, text, index, block)
    yield from _stages(text, block, sees=sees, nested=nested)
    if sees:
        yield from _vision(config, hidden, nested=nested)


def fp8(name: str, rows: int, columns: int, block: int) -> Stored:
    """A matrix of FP8 with a scale per block."""
    yield f"{name}.weight", "F8_E4M3", (rows, columns)
    yield f"{name}.scale", "F8_E8M0", (-(-rows // block), -(-columns // block))


def _head(prefix: str, text: dict) -> Stored:
    copies, hidden = text["hc_mult"], text["hidden_size"]
    yield f"{prefix}hc_head_fn", "F32", (copies, copies * hidden)
    yield f"{prefix}hc_head_base", "F32", (copies,)
    yield f"{prefix}hc_head_scale", "F32", (1,)


def _layer(
    prefix: str, text: dict, block: int, experts: int, *, hashed: bool, sees: bool
) -> Stored:
    hidden, copies, heads = text["hidden_size"], text["hc_mult"], text["num_attention_heads"]
    dim, rank, groups = text["head_dim"], text["q_lora_rank"], text["o_groups"]
    outputs, width = groups * text["o_lora_rank"], text["moe_intermediate_size"]
    for part in ("attn", "ffn"):
        yield f"{prefix}hc_{part}_fn", "F32", ((2 + copies) * copies, copies * hidden)
        yield f"{prefix}hc_{part}_base", "F32", ((2 + copies) * copies,)
        yield f"{prefix}hc_{part}_scale", "F32", (3,)
        yield f"{prefix}{part}_norm.weight", "BF16", (hidden,)
    yield f"{prefix}attn.attn_sink", "F32", (heads,)
    yield f"{prefix}attn.q_norm.weight", "BF16", (rank,)
    yield f"{prefix}attn.kv_norm.weight", "BF16", (dim,)
    yield from fp8(f"{prefix}attn.wq_a", rank, hidden, block)
    yield from fp8(f"{prefix}attn.wq_b", heads * dim, rank, block)
    yield from fp8(f"{prefix}attn.wkv", dim, hidden, block)
    yield from fp8(f"{prefix}attn.wo_a", outputs, heads * dim // groups, block)
    yield from fp8(f"{prefix}attn.wo_b", hidden, outputs, block)
    yield f"{prefix}ffn.gate.weight", "BF16", (experts, hidden)
    if hashed:
        yield f"{prefix}ffn.gate.tid2eid", "I64", (text["vocab_size"], text["num_experts_per_tok"])
    if not hashed or sees:
        yield f"{prefix}ffn.gate.bias", "F32", (experts,)
    if sees:
        yield f"{prefix}ffn.gate.bias_vl", "F32", (experts,)
    for name, rows, columns in (
        ("w1", width, hidden),
        ("w2", hidden, width),
        ("w3", width, hidden),
    ):
        yield from fp8(f"{prefix}ffn.shared_experts.{name}", rows, columns, block)
        for expert in range(experts):
            path = f"{prefix}ffn.experts.{expert}.{name}"
            yield f"{path}.weight", "I8", (rows, columns // 2)
            yield f"{path}.scale", "F8_E8M0", (rows, columns // 32)


def _compressor(path: str, dim: int, ratio: int, hidden: int) -> Stored:
    width = dim * (2 if ratio == 4 else 1)
    yield f"{path}.ape", "F32", (ratio, width)
    yield f"{path}.wkv.weight", "BF16", (width, hidden)
    yield f"{path}.wgate.weight", "BF16", (width, hidden)
    yield f"{path}.norm.weight", "BF16", (dim,)


def _v4_parts(prefix: str, text: dict, index: int, block: int) -> Stored:
    ratio, hidden = text["compress_ratios"][index], text["hidden_size"]
    if not ratio:
        return
    yield from _compressor(f"{prefix}attn.compressor", text["head_dim"], ratio, hidden)
    if ratio == 4:
        yield from _index(f"{prefix}attn.indexer", text, block)
        dim = text["index_head_dim"]
        yield from _compressor(f"{prefix}attn.indexer.compressor", dim, ratio, hidden)


def _index(path: str, text: dict, block: int) -> Stored:
    heads = text["index_n_heads"]
    yield from fp8(f"{path}.wq_b", heads * text["index_head_dim"], text["q_lora_rank"], block)
    yield f"{path}.weights_proj.weight", "BF16", (heads, text["hidden_size"])


def _v41_parts(prefix: str, text: dict, index: int, block: int) -> Stored:
    hidden, dim, ratio = text["hidden_size"], text["head_dim"], text["compress_ratios"][index]
    source = index in text["kv_source_layer_ids"]
    if source:
        yield f"{prefix}attn.compressor.wkv.weight", "BF16", (dim, hidden)
        yield f"{prefix}attn.compressor.norm.weight", "BF16", (dim,)
    if source and ratio > 1:
        yield f"{prefix}attn.compressor.wgate.weight", "BF16", (dim, hidden)
    if index in text["index_source_layer_ids"]:
        yield from _index(f"{prefix}attn.indexer", text, block)
        if source:
            yield f"{prefix}attn.indexer.wk.weight", "BF16", (text["index_head_dim"], dim)
            yield f"{prefix}attn.indexer.k_norm.weight", "BF16", (text["index_head_dim"],)
    if index in text["engram_layer_ids"]:
        path, copies = f"{prefix}engram.", text["hc_mult"]
        rows = text["engram_num_embeddings"][text["engram_layer_ids"].index(index)]
        width = text["engram_head_dim"]
        columns = (text["engram_max_ngram_size"] - 1) * text["engram_n_heads"] * width
        yield f"{path}embed.weight", "F8_E4M3", (rows, width)
        yield f"{path}embed.scale", "F8_E8M0", (rows, width // 32)
        yield from fp8(f"{path}wkv", hidden * (copies + 1), columns, block)
        yield f"{path}q_weight", "BF16", (copies, hidden)
        yield f"{path}k_weight", "BF16", (copies, hidden)


def _stages(text: dict, block: int, *, sees: bool, nested: bool) -> Stored:
    hidden, drafts = text["hidden_size"], "dspark_block_size" in text
    count = len(text["compress_ratios"]) - text["num_hidden_layers"]
    experts = text.get("dspark_n_routed_experts") or text["n_routed_experts"]
    for stage in range(count):
        prefix = f"mtp.{stage}."
        yield from _layer(prefix, text, block, experts, hashed=False, sees=sees)
        if not drafts:
            for name in ("e_proj", "h_proj"):
                yield from fp8(prefix + name, hidden, hidden, block)
            for name in ("enorm", "hnorm", "norm"):
                yield f"{prefix}{name}.weight", "BF16", (hidden,)
            yield from _head(prefix, text)
        if drafts and stage == 0:
            targets = len(text["dspark_target_layer_ids"])
            yield from fp8(f"{prefix}main_proj", hidden, hidden * targets, block)
            yield f"{prefix}main_norm.weight", "BF16", (hidden,)
        if drafts and stage == count - 1:
            rank = text["dspark_markov_rank"]
            yield f"{prefix}norm.weight", "BF16", (hidden,)
            for name in ("embed", "head") if nested else ("markov_w1", "markov_w2"):
                yield f"{prefix}markov_head.{name}.weight", "BF16", (text["vocab_size"], rank)
            yield f"{prefix}confidence_head.proj.weight", "BF16", (1, hidden + rank)
            if not nested:
                yield from _head(prefix, text)


def _vision(config: dict, hidden: int, *, nested: bool) -> Stored:
    if nested:
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "patch_size")
        vision, ratio = config["vision_config"], config["vision_config"]["downsample_ratio"]
        width, inner, count, side = (vision[name] for name in names)
    else:
        names = ("dim", "inter_dim", "n_layers", "patch_size", "downsample_ratio")
        width, inner, count, side, ratio = (config[f"vision_{name}"] for name in names)
    yield "vision.patch_embed.proj.weight", "BF16", (width, 3 * side * side)
    yield "vision.patch_embed.proj.bias", "BF16", (width,)
    yield "vision.norm.weight", "BF16", (width,)
    for index in range(count):
        path, mlp = f"vision.blocks.{index}.", "mlp" if nested else "ffn"
        yield f"{path}norm1.weight", "BF16", (width,)
        yield f"{path}norm2.weight", "BF16", (width,)
        yield f"{path}attn.wqkv.weight", "BF16", (3 * width, width)
        yield f"{path}attn.wqkv.bias", "BF16", (3 * width,)
        yield f"{path}attn.wo.weight", "BF16", (width, width)
        yield f"{path}attn.wo.bias", "BF16", (width,)
        yield f"{path}{mlp}.w1.weight", "BF16", (2 * inner, width)
        yield f"{path}{mlp}.w2.weight", "BF16", (width, inner)
    yield "aligner.w1.weight", "BF16", (hidden, width * ratio**2)
    yield "aligner.w1.bias", "BF16", (hidden,)
    yield "aligner.w2.weight", "BF16", (hidden, hidden)
    yield "aligner.w2.bias", "BF16", (hidden,)
    for name in PICTURE_TOKENS if nested else (*PICTURE_TOKENS, "image_pad"):
        yield name, "BF16", (hidden,)
