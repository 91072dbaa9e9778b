"""Which tensors are decided together: the classes that a budget is divided among."""

import re
from typing import NamedTuple

from mlx_deepseek_convert.planning.recipes import LATENT, NEVER

LAYER = re.compile(r"^(?:language\.)?model\.layers\.(\d+)\.")  # encoders' layers have other names


class TensorClass(NamedTuple):
    """A kind of weights, of one decoder layer where kinds are decided by layer."""

    kind: str
    layer: int | None = None

    def __str__(self) -> str:
        return self.kind if self.layer is None else f"{self.kind}, layer {self.layer}"


MTP = TensorClass("mtp")
ROUTED, DENSE = "routed experts", "dense mlp"

# The first match wins; feed-forward layers are most of the bytes, so they are decided by layer.
KINDS = (
    (r"^mtp\.", MTP.kind),
    (r"embed_tokens$", "embedding"),
    (r"lm_head$", "head"),
    (LATENT, "latent"),
    (r"self_attn\.", "attention"),
    (r"shared_experts\.", "shared experts"),
    (r"switch_mlp\.", ROUTED),
    (r"mlp\.(gate|up|down)_proj$", DENSE),
)


def class_of(path: str) -> TensorClass | None:
    """The class of the module at `path`; None where recipes never quantize."""
    if any(re.search(pattern, path) for pattern, _ in NEVER):
        return None
    for pattern, kind in KINDS:
        if re.search(pattern, path):
            layer = LAYER.match(path) if kind in (ROUTED, DENSE) else None
            return TensorClass(kind, int(layer[1]) if layer else None)
    return None


def pattern_of(member: TensorClass) -> str:
    """A pattern for the paths of a class, as recipes have them."""
    pattern = next(pattern for pattern, kind in KINDS if kind == member.kind)
    return pattern if member.layer is None else rf"\bmodel\.layers\.{member.layer}\..*{pattern}"
