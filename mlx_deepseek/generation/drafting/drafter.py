"""What every drafter offers: MTP layers, smaller models and block drafters alike."""

from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx

from mlx_deepseek.generation.drafting.draft_length import DraftLength
from mlx_deepseek.generation.positional_sampler import PositionalSampler

Choose = PositionalSampler
Caches = Sequence[Any]


class Drafter(Protocol):
    """Guesses the tokens that follow those the model has written.

    Its caches hold one row per token, like the model's; those of drafts are trimmed by the caller.
    """

    lookback: int = 0  # tokens at the end of a shared prefix that its caches must see again
    length: DraftLength

    def make_cache(self) -> list[Any]:
        """Empty caches of its own, beside the model's."""
        ...

    def forward(
        self, model: Any, ids: mx.array, cache: Sequence[Any], embeddings: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """The model's logits [1, L, vocab] of ids [1, L], and features [1, L, ...] to draft from.

        `embeddings` [1, L, D] take the place of ids where a prompt shows pictures. Features are
        the states that the model leaves for its drafting layers, unless a drafter has others.
        """
        return model.read(ids, cache, embeddings)

    def draft(
        self, features: mx.array, following: mx.array, count: int, choose: Choose, cache: Caches
    ) -> list[mx.array]:
        """Take L tokens into `cache`, then guess: `count` tokens [1] each, none for a prompt.

        `features` are of the L tokens that are new since the last call, `following` [1, L] the
        tokens after each. The first guess comes after the last of these.
        """
        ...
