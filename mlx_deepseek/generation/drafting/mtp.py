"""The model's own MTP layer drafts, applied again for each further token (2412.19437 §2.2)."""

from typing import Any

import mlx.core as mx

from mlx_deepseek.generation.drafting.draft_length import DraftLength
from mlx_deepseek.generation.drafting.drafter import Caches, Choose, Drafter


class MTPDrafter(Drafter):
    """Drafts `depth` tokens at a time; None: as many as pay on this machine, perhaps none."""

    lookback = 1  # row i of its cache was made with token i + 1

    def __init__(self, model: Any, depth: int | None = None):
        self.layer = model.mtp[0]
        self.length = DraftLength(depth)

    def make_cache(self) -> list[Any]:
        """The MTP layer's cache."""
        return [self.layer.make_cache()]

    def draft(
        self, features: mx.array, following: mx.array, count: int, choose: Choose, cache: Caches
    ) -> list[mx.array]:
        """Each guess comes from the state of the one before it, not from the model's own."""
        state = self.layer.predict(features, following, cache[0])[:, -1:]  # [1, 1, D]
        drafts: list[mx.array] = []
        while len(drafts) < count:
            if drafts:
                state = self.layer.predict(state, drafts[-1][None], cache[0])
            drafts.append(choose(self.layer.shared_head(state)[:, -1], drafts))
        return drafts
