"""Names in the checkpoints that mlx-vlm writes of models that see, as this package has them."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

# In order, each pattern is replaced where it is found.
RENAMED = (
    (r"^language_model\.", "language."),
    (r"^aligner\.", "projector."),
    (r"^projector\.layers\.(?=weight|bias|scales)", "projector."),
    (r"^projector\.w1\.", "projector.layers.0."),
    (r"^projector\.w2\.", "projector.layers.2."),
    (r"^(vision\.blocks\..*\.attn\.)wqkv\.", r"\1qkv."),
    (r"^(vision\.blocks\..*\.attn\.)wo\.", r"\1proj."),
    (r"^(vision\.blocks\..*\.)(?:ffn|mlp)\.w(?=[12]\.)", r"\1mlp.fc"),
    (r"^view_separator$", "view_seperator"),
    (r"^vision(_model)?\.vision_tower\.", "vision."),
    (r"^vision_model\.vision_tower_(high|low)\.vision_tower\.", r"vision.\1."),
    (r"^sam_model\.net_2\.", "vision.sam.downsamples.0."),
    (r"^sam_model\.net_3\.", "vision.sam.downsamples.1."),
    (r"^sam_model\.", "vision.sam."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "vision.clip.position_embedding"),
    (r"^vision_model\.(embeddings\.)?(?=class|pre_)", "vision.clip."),
    (r"^vision_model\.transformer\.layers\.", "vision.clip.blocks."),
    (r"^(vision\..*\.)self_attn\.qkv_proj\.", r"\1attn.qkv."),
    (r"^(vision\..*\.)self_attn\.out_proj\.", r"\1attn.proj."),
    (r"^(vision\..*\.)layer_norm(?=[12]\.)", r"\1norm"),
    (r"^(vision\..*\.mlp\.)lin(?=[12]\.)", r"\1fc"),
)
# What no model computes with: pooling, CLIP's own patches, norms that are never called.
UNUSED = re.compile(r"^vision.*\.(attn_pool|patch_embedding|position_ids|(high|low)_layer_norm)\b")


def rename(name: str) -> str | None:
    """A tensor's name here; None for those without use. Other names stay as they are."""
    if UNUSED.match(name):
        return None
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def renamed(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Tensors by their names here."""
    return {ours: value for name, value in tensors.items() if (ours := rename(name)) is not None}


def renamed_modules(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of modules, by path, under their paths here."""
    paths = {f"{path}.weight": value for path, value in settings.items()}
    return {path.removesuffix(".weight"): value for path, value in renamed(paths).items()}
