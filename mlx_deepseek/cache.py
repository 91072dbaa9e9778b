"""A conversation's prompt cache: what a new prompt shares with the last one is not read again."""

from collections.abc import Sequence
from typing import Any

import mlx.nn as nn
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache


class KeptCache:
    """A prompt cache and the tokens in it; for MLA models it holds R + P numbers per token."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.ids: list[int] = []
        self.layers: list[Any] = []
        self.busy = False

    def prepare(self, ids: Sequence[int]) -> int:
        """Keep the longest common prefix with `ids`; returns its length, less than len(ids).

        The last token is always left to the model, which must see one to say what follows.
        """
        shared = min(common_prefix(self.ids, ids), len(ids) - 1)
        if not self._trim(shared):
            self.layers, self.ids = make_prompt_cache(self.model), []
            return 0
        return shared

    def _trim(self, length: int) -> bool:
        held = {layer.offset for layer in self.layers if hasattr(layer, "offset")}
        # Unequal after an interrupted step: such a cache is not worth mending.
        if not length or held != {len(self.ids)} or not can_trim_prompt_cache(self.layers):
            return False
        surplus = len(self.ids) - length
        if surplus and trim_prompt_cache(self.layers, surplus) != surplus:
            return False
        del self.ids[length:]
        return True


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of leading elements that two sequences share."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
