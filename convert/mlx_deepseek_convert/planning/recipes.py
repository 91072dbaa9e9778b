"""Quantization recipes: ordered tables from a module's path to its bits; the first match wins.

Routed experts are 95 % of a mixture of experts' bytes and the least sensitive of its weights, so
recipes spend few bits there and more on what every token passes through. The router decides which
experts run at all, the indexer's weighting of its heads which tokens are attended to, and both cost
nothing: they are never quantized, and neither are norms. Encoders of pictures read the smallest
print with a small part of the weights, so they stay as they are, too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlx_deepseek.errors import ConfigError
from mlx_deepseek_convert.source.formats import FIXED, Setting

Table = tuple[tuple[str, "Setting | None"], ...]


@dataclass(frozen=True)
class Recipe:
    """Ordered tables of (pattern of module paths, Setting or None: not quantized).

    `routed` is for models with routed experts, `dense` for the others. `original`: weights that are
    FP8 or FP4 already stay so, code by code, and the tables say nothing.
    """

    name: str
    summary: str
    routed: Table
    dense: Table
    default: Setting | None
    original: bool = False

    def setting(self, path: str, shape: tuple[int, ...], *, routed: bool) -> Setting | None:
        """How to store the weight of module `path` with `shape`; None: unquantized."""
        for pattern, setting in self.routed if routed else self.dense:
            if re.search(pattern, path):
                return fit(setting, shape)
        return fit(self.default, shape)


def fit(setting: Setting | None, shape: tuple[int, ...]) -> Setting | None:
    """`setting` with groups that divide the last axis: 64, else 32, else unquantized."""
    if setting is None or len(shape) < 2:
        return None
    if setting.mode in FIXED:
        return setting if shape[-1] % setting.group_size == 0 else None
    for size in (setting.group_size, 64, 32):
        if size <= setting.group_size and shape[-1] % size == 0:
            return Setting(setting.bits, size)
    return None


NEVER: tuple[tuple[str, Setting | None], ...] = (
    (r"norm$", None),
    (r"\.mlp\.gate$", None),
    (r"\.indexer\.weights_proj$", None),
    (r"^(vision|projector|vq|code_(embed|projector)|flow_\w+)\b", None),
    (r"\.confidence_head\.", None),
    # Looked up row by row, on disk if need be: released as FP8, and nobody waits for its bytes.
    (r"\.engram\.embed$", Setting(8, 32, "mxfp8")),
)


EXPERTS = r"\.switch_mlp\."


EXPERTS_DOWN = r"\.switch_mlp\.down_proj$"


# MLA's way into and out of the latent: small, and everything cached passes through it. The
# indexer's queries and keys choose what of it is read.
LATENT = (
    r"\.(embed_q|unembed_out|kv_b_proj|kv_a_proj_with_mqa|q_a_proj|indexer\.w(q_b|k)"
    r"|self_attn\.kv_proj|compressor\.(kv|gate)_proj|indexer\.(q_b|k)_proj)$"
)


EDGES = r"embed_tokens$|lm_head$|shared_head\.head$|^code_head\."


VALUES = r"\.v_proj$"


# The same tables for models without routed experts: their MLPs are most of the bytes.
DENSE_MLP = r"\.mlp\.(gate|up|down)_proj$|\.[qko]_proj$"


DENSE_DOWN = r"\.mlp\.down_proj$"


def _uniform(name: str, summary: str, setting: Setting) -> Recipe:
    return Recipe(name, summary, NEVER, NEVER, setting)


def _mixed(
    name: str, summary: str, bulk: Setting, rest: Setting, edges: Setting, down: Setting
) -> Recipe:
    """`bulk` for routed experts, `down` for their down projections, `edges` for head and latent."""
    sensitive = ((EDGES, edges), (LATENT, edges))
    routed = (*NEVER, (EXPERTS_DOWN, down), (EXPERTS, bulk), *sensitive)
    dense = (*NEVER, (DENSE_DOWN, down), (DENSE_MLP, bulk), (VALUES, rest), *sensitive)
    return Recipe(name, summary, routed, dense, rest)


def _affine(name: str, summary: str, *, bulk: int, rest: int, edges: int, down: int) -> Recipe:
    return _mixed(name, summary, Setting(bulk), Setting(rest), Setting(edges), Setting(down))


def _fixed(mode: str) -> Setting:
    group_size, bits = FIXED[mode]
    return Setting(bits, group_size, mode)


def _block_float(name: str, summary: str) -> Recipe:
    bulk, rest = _fixed(name), _fixed("mxfp8")
    made = _mixed(name, summary, bulk, rest, rest, bulk)
    if name != "nvfp4":
        return made
    # Its 8-bit scales need one more per matrix, or small weights become zero; MLX has that for
    # stacks of experts only.
    return replace(made, dense=_mixed("", "", _fixed("mxfp4"), rest, rest, _fixed("mxfp4")).dense)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("bf16", "every weight in bfloat16", (), (), None),
        Recipe("original", "codes as released: nothing is rounded", (), (), None, original=True),
        _uniform("8bit", "8 bits everywhere", Setting(8)),
        _uniform("6bit", "6 bits everywhere", Setting(6)),
        _affine(
            "4bit", "experts 4 bits, the rest 6, head and latent 8", bulk=4, rest=6, edges=8, down=4
        ),
        _affine(
            "3bit", "experts 3 bits, the rest 5, head and latent 6", bulk=3, rest=5, edges=6, down=3
        ),
        _affine(
            "2bit", "experts 2 and 3 bits, the rest 5, ends 6", bulk=2, rest=5, edges=6, down=3
        ),
        _uniform("mxfp8", "8-bit floats, 32 to a power-of-two scale", _fixed("mxfp8")),
        _block_float("mxfp4", "experts 4-bit floats in blocks of 32, the rest mxfp8"),
        _block_float(
            "nvfp4", "experts 4-bit floats in blocks of 16, the rest mxfp8; without experts mxfp4"
        ),
    )
}


def get(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in RECIPES:
        raise ConfigError(f"No recipe {name!r}. Expected one of {', '.join(RECIPES)}.")
    return RECIPES[name]
