"""Tensor names, shapes and dtypes of released checkpoints, written down apart from the weight maps.

Follows the modules of the original modeling files (mlx_deepseek knows nothing of this), so that
a name forgotten in a map cannot be forgotten here by the same line of code.
"""

from collections.abc import Iterator
from pathlib import Path

from mlx_deepseek.checkpoint.safetensors_header import DTYPES, TensorInfo
from mlx_deepseek_convert.source.checkpoint import Source
from mlx_deepseek_convert.source.pairing import pair_scales
from tests.convert import released_drawing, released_v4, released_vision

FP8_BLOCK = 128


def released_source(config: dict) -> Source:
    """A checkpoint of this config as its headers would describe it; there are no files."""
    infos, start, file = [], 0, Path("computed.safetensors")
    for name, dtype, shape in released_tensors(config):
        nbytes = DTYPES[dtype].nbytes
        for size in shape:
            nbytes *= size
        infos.append(TensorInfo(name, file, dtype, shape, start, nbytes))
        start += nbytes
    tensors = pair_scales(infos, config, "computed")
    return Source(Path("computed"), config, tensors, len(infos), {"format": "pt"})


def released_tensors(config: dict) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name, dtype and shape of every tensor that the release of `config` stores."""
    if config.get("model_type") in ("deepseek_v4", "deepseek_v41"):
        yield from released_v4.v4(config)
        return
    fp8 = (config.get("quantization_config") or {}).get("quant_method") == "fp8"
    for name, shape, kind in _stored(config):
        if kind == "float32" or (kind == "norm" and config["model_type"] == "deepseek_v32"):
            yield name, "F32", shape
        elif kind == "linear" and fp8:
            yield name, "F8_E4M3", shape
            grid = tuple(-(-size // FP8_BLOCK) for size in shape)
            yield f"{name}_scale_inv", "F32", grid
        else:
            yield name, "BF16", shape


def _stored(config: dict) -> Iterator[tuple[str, tuple[int, ...], str]]:
    if config.get("_class_name") == "AutoencoderKL":
        return released_drawing.vae(config)
    if config["model_type"] == "multi_modality":
        if "vision_gen_enc_config" in config:
            return released_drawing.janusflow(config, _modules)
        draws = "gen_vision_config" in config
        return (released_drawing.janus if draws else released_vision.vl)(config, _modules)
    if config["model_type"] == "deepseek_vl_v2":
        encoder = config["vision_config"]["model_name"]
        if encoder.startswith("siglip"):
            return released_vision.vl2(config, _vl2_text)
        second = encoder == "deepencoderv2"
        return (released_vision.ocr2 if second else released_vision.ocr)(config, _vl2_text)
    return _modules(config)


def _vl2_text(config: dict) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """The text model of VL2 and OCR, whose configs leave out what their code assumes."""
    silent = {"model_type": "deepseek_v2", "first_k_dense_replace": 0, "qk_nope_head_dim": 128}
    silent |= {"num_hidden_layers": 30, "num_attention_heads": 32, "kv_lora_rank": 512}
    silent |= {"qk_rope_head_dim": 64, "v_head_dim": 128}
    config = {**silent, **config}
    return _modules(config if config.get("use_mla", True) else {**config, "kv_lora_rank": None})


def _modules(config: dict) -> Iterator[tuple[str, tuple[int, ...], str]]:
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    yield "model.embed_tokens.weight", (vocab, hidden), "plain"
    block = _deepseek_layer if config["model_type"].startswith("deepseek") else _dense_layer
    main = config["num_hidden_layers"]
    extra = config.get("num_nextn_predict_layers") or 0
    for layer in range(main + extra):
        for name, shape, kind in block(config, layer):
            yield f"model.layers.{layer}.{name}", shape, kind
    for layer in range(main, main + extra):
        prefix = f"model.layers.{layer}."
        yield prefix + "embed_tokens.weight", (vocab, hidden), "plain"
        yield prefix + "enorm.weight", (hidden,), "norm"
        yield prefix + "hnorm.weight", (hidden,), "norm"
        yield prefix + "eh_proj.weight", (hidden, 2 * hidden), "plain"
        yield prefix + "shared_head.norm.weight", (hidden,), "norm"
        yield prefix + "shared_head.head.weight", (vocab, hidden), "plain"
    yield "model.norm.weight", (hidden,), "norm"
    if not config.get("tie_word_embeddings", False):
        yield "lm_head.weight", (vocab, hidden), "plain"


def _dense_layer(config: dict, layer: int) -> Iterator[tuple[str, tuple[int, ...], str]]:
    hidden = config["hidden_size"]
    yield from _norms(hidden)
    yield from _attention(config)
    yield from _mlp("mlp.", hidden, config["intermediate_size"])


def _deepseek_layer(config: dict, layer: int) -> Iterator[tuple[str, tuple[int, ...], str]]:
    hidden = config["hidden_size"]
    yield from _norms(hidden)
    if config.get("kv_lora_rank"):
        yield from _latent_attention(config)
        yield from _indexer(config)
    else:
        yield from _attention(config)
    routed = config.get("n_routed_experts")
    first, every = config["first_k_dense_replace"], config.get("moe_layer_freq", 1)
    if not routed or layer < first or layer % every:
        yield from _mlp("mlp.", hidden, config["intermediate_size"])
        return
    width = config["moe_intermediate_size"]
    yield "mlp.gate.weight", (routed, hidden), "plain"
    if config.get("topk_method") == "noaux_tc":
        yield "mlp.gate.e_score_correction_bias", (routed,), "float32"
    for expert in range(routed):
        yield from _mlp(f"mlp.experts.{expert}.", hidden, width)
    if config.get("n_shared_experts"):
        yield from _mlp("mlp.shared_experts.", hidden, width * config["n_shared_experts"])


def _norms(hidden: int) -> Iterator[tuple[str, tuple[int, ...], str]]:
    yield "input_layernorm.weight", (hidden,), "norm"
    yield "post_attention_layernorm.weight", (hidden,), "norm"


def _attention(config: dict) -> Iterator[tuple[str, tuple[int, ...], str]]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    shared = config.get("num_key_value_heads") or heads
    kind = config["model_type"]
    for name, count in (("q", heads), ("k", shared), ("v", shared)):
        yield f"self_attn.{name}_proj.weight", (count * head, hidden), "linear"
        if kind == "qwen2":
            yield f"self_attn.{name}_proj.bias", (count * head,), "plain"
    yield "self_attn.o_proj.weight", (hidden, heads * head), "linear"
    if kind == "qwen3":
        yield "self_attn.q_norm.weight", (head,), "norm"
        yield "self_attn.k_norm.weight", (head,), "norm"


def _latent_attention(config: dict) -> Iterator[tuple[str, tuple[int, ...], str]]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    rank, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
    nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
    query = config.get("q_lora_rank")
    if query is None:
        yield "self_attn.q_proj.weight", (heads * (nope + rope), hidden), "linear"
    else:
        yield "self_attn.q_a_proj.weight", (query, hidden), "linear"
        yield "self_attn.q_a_layernorm.weight", (query,), "norm"
        yield "self_attn.q_b_proj.weight", (heads * (nope + rope), query), "linear"
    yield "self_attn.kv_a_proj_with_mqa.weight", (rank + rope, hidden), "linear"
    yield "self_attn.kv_a_layernorm.weight", (rank,), "norm"
    yield "self_attn.kv_b_proj.weight", (heads * (nope + value), rank), "linear"
    yield "self_attn.o_proj.weight", (hidden, heads * value), "linear"


def _indexer(config: dict) -> Iterator[tuple[str, tuple[int, ...], str]]:
    if "index_n_heads" not in config:
        return
    prefix, hidden = "self_attn.indexer.", config["hidden_size"]
    heads, dim = config["index_n_heads"], config["index_head_dim"]
    yield f"{prefix}wq_b.weight", (heads * dim, config["q_lora_rank"]), "linear"
    yield f"{prefix}wk.weight", (dim, hidden), "linear"
    yield f"{prefix}k_norm.weight", (dim,), "norm"
    yield f"{prefix}k_norm.bias", (dim,), "norm"
    yield f"{prefix}weights_proj.weight", (heads, hidden), "plain"


def _mlp(prefix: str, hidden: int, width: int) -> Iterator[tuple[str, tuple[int, ...], str]]:
    yield f"{prefix}gate_proj.weight", (width, hidden), "linear"
    yield f"{prefix}up_proj.weight", (width, hidden), "linear"
    yield f"{prefix}down_proj.weight", (hidden, width), "linear"
