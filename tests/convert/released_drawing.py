"""Tensor names and shapes of released models that draw, after the original modeling files.

As in `released.py`, nothing here comes from the weight maps or the models.
"""

from tests.convert.released_vision import (
    LLAMA,
    Named,
    Text,
    _linear,
    _norm,
    _siglip_large,
    _under,
    vl,
)

VQ_LEVELS = (1, 1, 2, 2, 4)


def janus(config: dict, text: Text) -> Named:
    """Janus and Janus-Pro."""
    yield from vl(config, text)
    params, head = config["gen_vision_config"]["params"], config["gen_head_config"]["params"]
    aligner = config["gen_aligner_config"]["params"]
    codes, dim = params["image_token_size"], params["n_embed"]
    yield from _vq(params, codes, dim)
    yield "gen_embed.weight", (codes, dim), "plain"
    yield from _linear("gen_aligner.layers.0", dim, aligner["n_embed"])
    yield from _linear("gen_aligner.layers.2", aligner["n_embed"], aligner["n_embed"])
    inner = head["image_token_embed"]
    yield from _linear("gen_head.output_mlp_projector", head["n_embed"], inner)
    yield from _linear("gen_head.vision_head", inner, codes)


def janusflow(config: dict, text: Text) -> Named:
    """JanusFlow; the widths that its code has in it come from the U-ViTs' here."""
    language = {**LLAMA, **config["language_config"]}
    yield from _under("language_model.", text(language))
    vision = config["vision_und_enc_config"]["params"]
    yield from _siglip_large("vision_und_enc_model.vision_tower.", vision)
    hidden = language["hidden_size"]
    yield from _linear("vision_und_enc_aligner", vision.get("width", 1024), hidden)
    yield "beg_of_und_embed", (1, hidden), "plain"
    encoder = config["vision_gen_enc_config"]["params"]
    decoder = config["vision_gen_dec_config"]["params"]
    width, prefix = decoder["in_channels"], "vision_gen_enc_model."
    yield from _linear(f"{prefix}time_embed.linear_1", width, hidden)
    yield from _linear(f"{prefix}time_embed.linear_2", hidden, hidden)
    yield from _conv(f"{prefix}in_conv", encoder["input_channels"], width, 2)
    yield from _convnext(prefix, width, hidden, encoder["layers_in_middle"])
    yield from _linear("vision_gen_enc_aligner", width, hidden)
    yield "vision_gen_dec_aligner_norm.weight", (hidden,), "plain"
    yield from _linear("vision_gen_dec_aligner", hidden, width)
    prefix = "vision_gen_dec_model."
    yield from _convnext(prefix, 2 * width, hidden, decoder["layers_in_middle"])
    yield f"{prefix}out_convs.0.norm.weight", (2 * width,), "plain"
    yield from _conv(f"{prefix}out_convs.0.unpatch_conv", 2 * width, 4 * decoder["out_channels"], 1)
    yield f"{prefix}input_norm.weight", (width,), "plain"


def vae(config: dict) -> Named:
    """SDXL's VAE, as diffusers stores it."""
    widths, latent = config["block_out_channels"], config["latent_channels"]
    depth, last = config["layers_per_block"], len(widths) - 1
    yield from _conv("encoder.conv_in", 3, widths[0], 3)
    before = widths[0]
    for level, width in enumerate(widths):
        prefix = f"encoder.down_blocks.{level}."
        for block in range(depth):
            yield from _resnet(f"{prefix}resnets.{block}.", before, width, "conv_shortcut")
            before = width
        if level < last:
            yield from _conv(f"{prefix}downsamplers.0.conv", width, width, 3)
    yield from _vae_middle("encoder.", widths[-1])
    yield from _norm("encoder.conv_norm_out", widths[-1])
    yield from _conv("encoder.conv_out", widths[-1], 2 * latent, 3)
    yield from _conv("decoder.conv_in", latent, widths[-1], 3)
    yield from _vae_middle("decoder.", widths[-1])
    before = widths[-1]
    for level, width in enumerate(reversed(widths)):
        prefix = f"decoder.up_blocks.{level}."
        for block in range(depth + 1):
            yield from _resnet(f"{prefix}resnets.{block}.", before, width, "conv_shortcut")
            before = width
        if level < last:
            yield from _conv(f"{prefix}upsamplers.0.conv", width, width, 3)
    yield from _norm("decoder.conv_norm_out", widths[0])
    yield from _conv("decoder.conv_out", widths[0], 3, 3)
    yield from _conv("quant_conv", 2 * latent, 2 * latent, 1)
    yield from _conv("post_quant_conv", latent, latent, 1)


def _vae_middle(prefix: str, width: int) -> Named:
    for block in range(2):
        yield from _resnet(f"{prefix}mid_block.resnets.{block}.", width, width, "conv_shortcut")
    attention = f"{prefix}mid_block.attentions.0."
    yield from _norm(attention + "group_norm", width)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        yield from _linear(attention + name, width, width)


def _vq(params: dict, codes: int, dim: int) -> Named:
    prefix, latent = "gen_vision_model.", params.get("z_channels", 256)
    widths = [params.get("ch", 128) * level for level in VQ_LEVELS]
    last = len(widths) - 1
    encoder, decoder = prefix + "encoder.", prefix + "decoder."
    yield from _conv(encoder + "conv_in", 3, widths[0], 3)
    before = widths[0]
    for level, width in enumerate(widths):
        block = f"{encoder}conv_blocks.{level}."
        for number in range(2):
            yield from _resnet(f"{block}res.{number}.", before, width, "nin_shortcut")
            before = width
            if level == last:
                yield from _vq_attention(f"{block}attn.{number}.", width)
        if level < last:
            yield from _conv(f"{block}downsample.conv", width, width, 3)
    yield from _vq_ends(encoder, widths[-1], widths[-1], latent)
    yield from _conv(decoder + "conv_in", latent, widths[-1], 3)
    before = widths[-1]
    for level, width in enumerate(reversed(widths)):
        block = f"{decoder}conv_blocks.{level}."
        for number in range(3):
            yield from _resnet(f"{block}res.{number}.", before, width, "nin_shortcut")
            before = width
            if level == 0:
                yield from _vq_attention(f"{block}attn.{number}.", width)
        if level < last:
            yield from _conv(f"{block}upsample.conv", width, width, 3)
    yield from _vq_ends(decoder, widths[-1], widths[0], 3)
    yield prefix + "quantize.embedding.weight", (codes, dim), "plain"
    yield prefix + "quantize.codebook_used", (65536,), "plain"
    yield from _conv(prefix + "quant_conv", latent, dim, 1)
    yield from _conv(prefix + "post_quant_conv", dim, latent, 1)


def _vq_ends(prefix: str, middle: int, width: int, outer: int) -> Named:
    yield from _resnet(f"{prefix}mid.0.", middle, middle, "")
    yield from _vq_attention(f"{prefix}mid.1.", middle)
    yield from _resnet(f"{prefix}mid.2.", middle, middle, "")
    yield from _norm(f"{prefix}norm_out", width)
    yield from _conv(f"{prefix}conv_out", width, outer, 3)


def _vq_attention(prefix: str, width: int) -> Named:
    yield from _norm(prefix + "norm", width)
    for name in ("q", "k", "v", "proj_out"):
        yield from _conv(prefix + name, width, width, 1)


def _resnet(prefix: str, inner: int, outer: int, shortcut: str) -> Named:
    yield from _norm(prefix + "norm1", inner)
    yield from _conv(prefix + "conv1", inner, outer, 3)
    yield from _norm(prefix + "norm2", outer)
    yield from _conv(prefix + "conv2", outer, outer, 3)
    if inner != outer:
        yield from _conv(prefix + shortcut, inner, outer, 1)


def _convnext(prefix: str, width: int, hidden: int, count: int) -> Named:
    for number in range(count):
        block = f"{prefix}mid_block.res_blocks.{number}."
        yield f"{block}depthwise.weight", (width, 1, 7, 7), "plain"
        yield f"{block}depthwise.bias", (width,), "plain"
        yield f"{block}norm.weight", (width,), "plain"
        yield from _linear(f"{block}channelwise_linear_1", width, 4 * width)
        yield f"{block}channelwise_norm.weight", (1, 1, 1, 4 * width), "plain"
        yield f"{block}channelwise_norm.bias", (1, 1, 1, 4 * width), "plain"
        yield from _linear(f"{block}channelwise_linear_2", 4 * width, width)
        yield from _linear(f"{block}cond_embeds_mapper", hidden, 2 * width)


def _conv(name: str, inner: int, outer: int, side: int) -> Named:
    yield f"{name}.weight", (outer, inner, side, side), "plain"
    yield f"{name}.bias", (outer,), "plain"
