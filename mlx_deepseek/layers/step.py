"""One pass of new tokens through a model, as every layer may see it."""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_attention_mask

from mlx_deepseek.layers.masks import Mask

# Few tokens (drafts, say) attend to latents, where one mask serves all layers.
FEW = 8


@dataclass(frozen=True)
class Step:
    """The new tokens' numbers `ids` [B, L], for layers that route or look up by them.

    `types` [B, L] says what of a picture a position holds (-1: text). What a layer leaves for later
    ones, compressed entries for example, is in `shared`, by name; `masks` holds one mask for each
    kind of cache.
    """

    ids: mx.array | None = None
    types: mx.array | None = None
    shared: dict[str, Any] = field(default_factory=dict)
    masks: dict[type, Mask] = field(default_factory=dict)

    @classmethod
    def of(cls, ids: mx.array | None, embeddings: mx.array | None = None) -> "Step":
        """The step of ids [B, L]; beside embeddings, -1 - t are places of pictures of type t."""
        if ids is None or embeddings is None:
            return cls(ids)
        return cls(mx.maximum(ids, 0), mx.maximum(-1 - ids, -1))

    @property
    def pictures(self) -> mx.array | None:
        """Which positions [B, L] belong to pictures; None where none can."""
        return None if self.types is None else self.types >= 0

    def row(self, number: int) -> "Step":
        """The step of one row of the batch, with what layers leave for later ones in that row."""
        name = f"row {number}"
        if name not in self.shared:
            part = slice(number, number + 1)
            ids = None if self.ids is None else self.ids[part]
            self.shared[name] = Step(ids, None if self.types is None else self.types[part])
        return self.shared[name]

    def mask(self, x: mx.array, cache: Any) -> Mask:
        """What x [B, L, D] may attend to, as its cache says; asked once per kind of cache."""
        kind = type(cache)
        if kind not in self.masks:
            self.masks[kind] = create_attention_mask(x, cache, return_array=x.shape[1] <= FEW)
        return self.masks[kind]


def mask_of(step: Step | Mask, x: mx.array, cache: Any) -> Mask:
    """The mask for x [B, L, D]: the caller's own, else what the cache says."""
    return step.mask(x, cache) if isinstance(step, Step) else step
