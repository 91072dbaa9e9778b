"""A smaller model of the same vocabulary that drafts tokens (arXiv:2211.17192)."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek.generation.drafting.draft_length import DraftLength
from mlx_deepseek.generation.drafting.drafter import Caches, Choose, Drafter


class ModelDrafter(Drafter):
    """Drafts `depth` tokens at a time; None: as many as pay on this machine, perhaps none.

    It reads words only: pictures are tokens 0 to it, which costs drafts and changes no answer.
    """

    def __init__(self, model: nn.Module, depth: int | None = None):
        self.model = model
        self.length = DraftLength(depth)

    def make_cache(self) -> list[Any]:
        """The smaller model's caches."""
        return make_prompt_cache(self.model)

    def forward(
        self, model: Any, ids: mx.array, cache: Sequence[Any], embeddings: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """Logits [1, L, vocab]; the smaller model goes by the ids [1, L] themselves."""
        seen = {} if embeddings is None else {"input_embeddings": embeddings}
        return model(ids, cache=cache, **seen), ids

    def draft(
        self, features: mx.array, following: mx.array, count: int, choose: Choose, cache: Caches
    ) -> list[mx.array]:
        """Each guess is read before the next one is made."""
        ids = mx.concatenate([features, following[:, -1:]], axis=1) if count else features
        drafts: list[mx.array] = []
        logits = self.model(ids, cache=cache)
        while len(drafts) < count:
            if drafts:
                logits = self.model(drafts[-1][None], cache=cache)
            drafts.append(choose(logits[:, -1], drafts))
        return drafts
