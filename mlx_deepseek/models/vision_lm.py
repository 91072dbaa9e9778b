"""A language model that reads pictures: features take the places of tokens in the prompt."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.vision.plan import ImageReader, Pixels, TilePlan


class VisionLM(nn.Module):
    """A text model behind mlx-lm's protocol, and `see`; architectures add encoders.

    `reader` cuts pictures. A prompt's embeddings are made by the caller, who knows which slots
    belong to which picture.
    """

    def __init__(self, language: Any, reader: ImageReader):
        super().__init__()
        self.language = language
        self.reader = reader

    def __call__(
        self, ids: mx.array, cache=None, input_embeddings: mx.array | None = None
    ) -> mx.array:
        """Logits [B, L, vocab] of ids [B, L], or of `input_embeddings` [B, L, D] in their place."""
        return self.language(ids, cache=cache, input_embeddings=input_embeddings)

    @property
    def layers(self) -> list[Any]:
        """The language model's layers."""
        return self.language.layers

    def make_cache(self) -> list[Any]:
        """An empty cache per layer."""
        if hasattr(self.language, "make_cache"):
            return self.language.make_cache()
        from mlx_lm.models.cache import KVCache

        return [KVCache() for _ in self.layers]

    def embed(self, ids: mx.array) -> mx.array:
        """Embeddings [B, L, D] of ids [B, L]."""
        return self.language.model.embed_tokens(ids)

    def see(self, pixels: Pixels, plan: TilePlan) -> mx.array:
        """A picture's features [plan.slots, D], in the prompt's order."""
        raise NotImplementedError
