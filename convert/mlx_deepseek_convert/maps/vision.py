"""Weight maps of models that see: encoders under one set of names, language models as their own.

Left out is what no model computes with: SigLIP's pooling head, CLIP's own patches (it is fed
with SAM's), and norms of the hybrid tower that its code never calls.
"""

from collections.abc import Iterator, Sequence

from mlx_deepseek.config import Json
from mlx_deepseek_convert.maps.deepseek import v1_rules, v2_rules
from mlx_deepseek_convert.maps.dense import llama_rules
from mlx_deepseek_convert.ops import ChannelsLast
from mlx_deepseek_convert.rules import Rule, copy, drop, moved

ENDS = "weight", "bias"
MARKS = "image_newline", "view_seperator"
# An encoder's block in a release, and here.
TIMM = {part: part for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")}
SAM_BLOCK = TIMM | {"mlp.fc1": "mlp.lin1", "mlp.fc2": "mlp.lin2"}
CLIP_BLOCK = TIMM | {
    "norm1": "layer_norm1",
    "attn.qkv": "self_attn.qkv_proj",
    "attn.proj": "self_attn.out_proj",
    "norm2": "layer_norm2",
}


def vl2_rules(config: Json) -> Sequence[Rule]:
    """DeepSeek-VL2."""
    return (
        *moved(deepseek_language(config), "language.", "language."),
        *siglip("vision.", "vision."),
        *both("projector.layers.{block}"),
        *(copy(name) for name in MARKS),
    )


def ocr_rules(config: Json) -> Sequence[Rule]:
    """DeepSeek-OCR."""
    return (
        *moved(deepseek_language(config), "", "language."),
        *sam("model.sam_model.", "vision.sam."),
        *(
            Rule(f"model.sam_model.net_{i + 2}.weight", (downsample(i),), ChannelsLast())
            for i in range(2)
        ),
        *clip("model.vision_model.", "vision.clip."),
        *both("model.projector.layers", "projector"),
        *(copy(f"model.{name}", name) for name in MARKS),
    )


def downsample(number: int) -> str:
    """The name of a compressing convolution."""
    return f"vision.sam.downsamples.{number}.weight"


def vl_rules(config: Json) -> Sequence[Rule]:
    """DeepSeek-VL, with one tower or two."""
    hybrid = config["vision_config"].get("cls") == "HybridVisionTower"
    return (
        *moved(llama_rules(config["language_config"]), "language_model.", "language."),
        *(hybrid_tower() if hybrid else siglip("vision_model.vision_tower.", "vision.")),
        *both("aligner.layers.{block}", "projector.layers.{block}"),
    )


def hybrid_tower() -> Iterator[Rule]:
    """DeepSeek-VL-7B's towers and their halves of the aligner."""
    high, low = (f"vision_model.vision_tower_{name}.vision_tower." for name in ("high", "low"))
    yield from sam(high, "vision.high.")
    yield from convolutions("neck_hd.{block}", high, "vision.high.")
    weight = "downsamples.{block}.weight"
    yield Rule(high + weight, (f"vision.high.{weight}",), ChannelsLast())
    yield copy(high + "hd_alpha_downsamples", "vision.high.hd_alpha_downsamples")
    yield from siglip(low, "vision.low.")
    for name in ("high", "low"):
        yield from both(f"aligner.{name}_up_proj", f"projector.{name}_up_proj")
        yield from (drop(f"vision_model.{name}_layer_norm.{end}") for end in ENDS)


def deepseek_language(config: Json) -> Sequence[Rule]:
    """VL2's and OCR's text model."""
    language = config["language_config"]
    return v2_rules(language) if language.get("use_mla", True) else v1_rules(language)


def siglip(source: str, target: str) -> Iterator[Rule]:
    """A SigLIP tower."""
    yield from patches(source, target)
    yield from blocks(source + "blocks", target, TIMM)
    yield from both(f"{source}norm", f"{target}norm")
    pool = f"{source}attn_pool."
    for name in ("kv", "q", "proj", "norm", "mlp.fc1", "mlp.fc2"):
        yield from (drop(f"{pool}{name}.{end}") for end in ENDS)
    yield drop(f"{pool}latent")


def sam(source: str, target: str) -> Iterator[Rule]:
    """A SAM encoder without what compresses its features, which releases name differently."""
    yield from patches(source, target)
    yield from blocks(source + "blocks", target, SAM_BLOCK)
    for axis in "hw":
        name = f"blocks.{{block}}.attn.rel_pos_{axis}"
        yield copy(source + name, target + name)
    yield from convolutions("neck.{block}", source, target)


def clip(source: str, target: str) -> Iterator[Rule]:
    """OCR's CLIP encoder."""
    embeddings = source + "embeddings."
    yield copy(embeddings + "class_embedding", target + "class_embedding")
    yield copy(embeddings + "position_embedding.weight", target + "position_embedding")
    yield drop(embeddings + "patch_embedding.weight")
    yield drop(embeddings + "position_ids")
    yield from both(f"{source}pre_layrnorm", f"{target}pre_layrnorm")
    yield from blocks(source + "transformer.layers", target, CLIP_BLOCK)


def patches(source: str, target: str) -> Iterator[Rule]:
    """The patches' projection and their positions."""
    yield from convolutions("patch_embed.proj", source, target)
    yield copy(source + "pos_embed", target + "pos_embed")


def blocks(source: str, target: str, names: dict[str, str]) -> Iterator[Rule]:
    """An encoder's blocks; `names` are the release's, by ours."""
    for ours, theirs in names.items():
        yield from both(f"{source}.{{block}}.{theirs}", f"{target}blocks.{{block}}.{ours}")


def convolutions(name: str, source: str, target: str) -> Iterator[Rule]:
    """A convolution or a norm after one; the former may have no bias."""
    for end in ENDS:
        optional = end == "bias"
        yield Rule(f"{source}{name}.{end}", (f"{target}{name}.{end}",), ChannelsLast(), optional)


def both(source: str, target: str | None = None) -> Iterator[Rule]:
    """Weight and bias of a layer or norm."""
    for end in ENDS:
        yield copy(f"{source}.{end}", f"{target or source}.{end}")
