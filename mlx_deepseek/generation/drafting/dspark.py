"""DSpark drafts a block of tokens at once, from what the model made of those before it."""

from typing import Any

import mlx.core as mx

from mlx_deepseek.generation.drafting.draft_length import DraftLength
from mlx_deepseek.generation.drafting.drafter import Caches, Choose, Drafter
from mlx_deepseek.models.dspark import DSpark


class DSparkDrafter(Drafter):
    """Drafts up to a block at a time; `depth` None: as many as pay, perhaps none."""

    def __init__(self, model: Any, depth: int | None = None):
        self.dspark = DSpark(model)
        self.length = DraftLength(depth, self.dspark.config.block)

    def make_cache(self) -> list[Any]:
        """The stages' caches."""
        return self.dspark.make_cache()

    def draft(
        self, features: mx.array, following: mx.array, count: int, choose: Choose, cache: Caches
    ) -> list[mx.array]:
        """The whole block is computed at once, its tokens chosen one after the other."""
        self.dspark.remember(features, cache)
        if not count:
            return []
        return self.dspark.draft(following[:, -1], cache, choose, count).drafts
