"""Tensor names and shapes of released models that see, after the original modeling files.

As in `released.py`, nothing here comes from the weight maps or the models.
"""

from collections.abc import Callable, Iterator

Named = Iterator[tuple[str, tuple[int, ...], str]]
Text = Callable[[dict], Named]


def ocr(config: dict, text: Text) -> Named:
    """DeepSeek-OCR; the language model's names have no prefix."""
    language, widths = config["language_config"], config["vision_config"]["width"]
    hidden = language["hidden_size"]
    yield from text(language)
    sam, clip = widths["sam_vit_b"], widths["clip-l-14-224"]
    image_px = config["vision_config"]["image_size"]
    neck, narrow = sam.get("out_chans", 256), sam["downsample_channels"]
    yield from _compressing_sam("model.sam_model.", sam, image_px, neck, narrow)
    yield from _clip("model.vision_model.", clip)
    yield from _linear("model.projector.layers", config["projector_config"]["input_dim"], hidden)
    yield "model.image_newline", (hidden,), "plain"
    yield "model.view_seperator", (hidden,), "plain"


def ocr2(config: dict, text: Text) -> Named:
    """DeepSeek-OCR-2, whose second encoder is a Qwen2-0.5B without embeddings."""
    language, widths = config["language_config"], config["vision_config"]["width"]
    hidden, sam, qwen2 = language["hidden_size"], widths["sam_vit_b"], widths["qwen2-0-5b"]
    yield from text(language)
    width, image_px = qwen2["dim"], config["vision_config"]["image_size"]
    narrow = [sam["downsample_channels"][0], width]  # not the 1024 that the file says
    yield from _compressing_sam(
        "model.sam_model.", sam, image_px, sam.get("out_chans", 256), narrow
    )
    prefix = "model.qwen2_model."
    layer = QWEN2 | qwen2 | {"model_type": "qwen2", "hidden_size": width, "vocab_size": 1}
    layer |= {"num_hidden_layers": layer["layers"], "num_attention_heads": layer["heads"]}
    layer |= {"num_key_value_heads": layer["kv_heads"], "tie_word_embeddings": True}
    for name, shape, kind in text(layer):
        if "embed_tokens" not in name:
            yield f"{prefix}model.{name}", shape, kind
    yield prefix + "query_768.weight", (144, width), "plain"
    yield prefix + "query_1024.weight", (256, width), "plain"
    yield from _linear("model.projector.layers", width, hidden)
    yield "model.view_seperator", (hidden,), "plain"


# What the code of OCR-2's encoder has in it.
QWEN2 = {"layers": 24, "heads": 14, "kv_heads": 2, "intermediate_size": 4864}


def _compressing_sam(
    prefix: str, sizes: dict, image_px: int, neck: int, narrow: list[int]
) -> Named:
    yield from _sam(prefix, sizes, image_px, neck)
    yield prefix + "net_2.weight", (narrow[0], neck, 3, 3), "plain"
    yield prefix + "net_3.weight", (narrow[1], narrow[0], 3, 3), "plain"


def vl2(config: dict, text: Text) -> Named:
    """DeepSeek-VL2."""
    language, vision = config["language_config"], config["vision_config"]
    width, hidden = vision["width"], config["projector_config"]["n_embed"]
    yield from _under("language.", text(language))
    inner = int(width * vision.get("mlp_ratio", 3.7362))
    patch_px, image_px = vision["patch_size"], vision.get("image_size", 384)
    yield from _siglip("vision.", width, vision["layers"], inner, patch_px, image_px)
    ratio = config["projector_config"].get("downsample_ratio", 2)
    yield from _linear("projector.layers.0", width * ratio**2, hidden)
    yield from _linear("projector.layers.2", hidden, hidden)
    yield "image_newline", (hidden,), "plain"
    yield "view_seperator", (hidden,), "plain"


def vl(config: dict, text: Text) -> Named:
    """DeepSeek-VL, with one tower or with two."""
    vision, aligner = config["vision_config"], config["aligner_config"]["params"]
    language = {**LLAMA, **config["language_config"]}
    yield from _under("language_model.", text(language))
    outer, inner = aligner["n_embed"], aligner["input_dim"]
    params = vision["params"]
    if vision["cls"] == "HybridVisionTower":
        yield from _hybrid("vision_model.", params)
        for name in ("high", "low"):
            yield from _linear(f"aligner.{name}_up_proj", inner, outer // 2)
        yield from _linear("aligner.layers.1", outer, outer)
    else:
        yield from _siglip_large("vision_model.vision_tower.", params)
        yield from _linear("aligner.layers.0", inner, outer)
        yield from _linear("aligner.layers.2", outer, outer)


# transformers' LlamaConfig, where a config says nothing.
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
}


def _under(prefix: str, named: Named) -> Named:
    for name, shape, kind in named:
        yield prefix + name, shape, kind


def _hybrid(prefix: str, params: dict) -> Named:
    high, low = params["high_res_cfg"], params["low_res_cfg"]
    neck, narrow = high.get("prompt_embed_dim", 256), high.get("downsample_channels", [512, 1024])
    sam = f"{prefix}vision_tower_high.vision_tower."
    yield from _sam(sam, {"width": 768, "layers": 12, "heads": 12} | high, high["image_size"], neck)
    yield from _neck(f"{sam}neck_hd.", high.get("width", 768), neck)
    yield f"{sam}downsamples.0.weight", (narrow[0], neck, 3, 3), "plain"
    yield f"{sam}downsamples.1.weight", (narrow[1], narrow[0], 3, 3), "plain"
    yield f"{sam}hd_alpha_downsamples", (1,), "plain"
    yield from _siglip_large(f"{prefix}vision_tower_low.vision_tower.", low)
    for name in ("high", "low"):
        yield from _norm(f"{prefix}{name}_layer_norm", high["output_dim"])


def _sam(prefix: str, sizes: dict, image_px: int, neck: int) -> Named:
    width, side = sizes["width"], image_px // 16
    yield f"{prefix}pos_embed", (1, side, side, width), "plain"
    yield f"{prefix}patch_embed.proj.weight", (width, 3, 16, 16), "plain"
    yield f"{prefix}patch_embed.proj.bias", (width,), "plain"
    everywhere = sizes.get("global_attn_indexes", [2, 5, 8, 11])
    for layer in range(sizes["layers"]):
        block, seen = f"{prefix}blocks.{layer}.", side if layer in everywhere else 14
        yield from _norm(block + "norm1", width)
        yield from _linear(block + "attn.qkv", width, 3 * width)
        yield from _linear(block + "attn.proj", width, width)
        for axis in "hw":
            table = (2 * seen - 1, width // sizes["heads"])
            yield f"{block}attn.rel_pos_{axis}", table, "plain"
        yield from _norm(block + "norm2", width)
        yield from _linear(block + "mlp.lin1", width, 4 * width)
        yield from _linear(block + "mlp.lin2", 4 * width, width)
    yield from _neck(f"{prefix}neck.", width, neck)


def _neck(prefix: str, width: int, neck: int) -> Named:
    yield f"{prefix}0.weight", (neck, width, 1, 1), "plain"
    yield from _norm(f"{prefix}1", neck)
    yield f"{prefix}2.weight", (neck, neck, 3, 3), "plain"
    yield from _norm(f"{prefix}3", neck)


def _clip(prefix: str, sizes: dict) -> Named:
    width, patch_px = sizes["width"], sizes["patch_size"]
    embeddings, count = f"{prefix}embeddings.", (sizes["image_size"] // patch_px) ** 2
    yield embeddings + "class_embedding", (width,), "plain"
    yield embeddings + "patch_embedding.weight", (width, 3, patch_px, patch_px), "plain"
    yield embeddings + "position_embedding.weight", (1 + count, width), "plain"
    yield from _norm(f"{prefix}pre_layrnorm", width)
    for layer in range(sizes["layers"]):
        block = f"{prefix}transformer.layers.{layer}."
        yield from _norm(block + "layer_norm1", width)
        yield from _linear(block + "self_attn.qkv_proj", width, 3 * width)
        yield from _linear(block + "self_attn.out_proj", width, width)
        yield from _norm(block + "layer_norm2", width)
        yield from _linear(block + "mlp.fc1", width, 4 * width)
        yield from _linear(block + "mlp.fc2", 4 * width, width)


def _siglip_large(prefix: str, params: dict) -> Named:
    width, layers = params.get("width", 1024), params.get("layers", 24)
    return _siglip(prefix, width, layers, 4 * width, 16, params["image_size"])


def _siglip(
    prefix: str, width: int, layers: int, inner: int, patch_px: int, image_px: int
) -> Named:
    """timm's model with the pooling head that nobody uses."""
    yield f"{prefix}pos_embed", (1, (image_px // patch_px) ** 2, width), "plain"
    yield f"{prefix}patch_embed.proj.weight", (width, 3, patch_px, patch_px), "plain"
    yield f"{prefix}patch_embed.proj.bias", (width,), "plain"
    for layer in range(layers):
        block = f"{prefix}blocks.{layer}."
        yield from _norm(block + "norm1", width)
        yield from _linear(block + "attn.qkv", width, 3 * width)
        yield from _linear(block + "attn.proj", width, width)
        yield from _norm(block + "norm2", width)
        yield from _linear(block + "mlp.fc1", width, inner)
        yield from _linear(block + "mlp.fc2", inner, width)
    yield from _norm(f"{prefix}norm", width)
    pool = f"{prefix}attn_pool."
    yield f"{pool}latent", (1, 1, width), "plain"
    yield from _linear(f"{pool}q", width, width)
    yield from _linear(f"{pool}kv", width, 2 * width)
    yield from _linear(f"{pool}proj", width, width)
    yield from _norm(f"{pool}norm", width)
    yield from _linear(f"{pool}mlp.fc1", width, inner)
    yield from _linear(f"{pool}mlp.fc2", inner, width)


def _linear(name: str, inner: int, outer: int) -> Named:
    yield f"{name}.weight", (outer, inner), "plain"
    yield f"{name}.bias", (outer,), "plain"


def _norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,), "plain"
    yield f"{name}.bias", (width,), "plain"
