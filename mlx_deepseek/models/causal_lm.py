"""A decoder with its output head and MTP layers, in mlx-lm's model protocol."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.hyper_connections import copies_of
from mlx_deepseek.layers.step import Step
from mlx_deepseek.models.decoder import AttentionFactory, Decoder, DecoderConfig, DecoderLayer
from mlx_deepseek.models.mtp import HyperMTPLayer, mtp_layers


class CausalLM(nn.Module):
    """What mlx-lm's generate, batch_generate, prompt caches and LoRA expect of a model."""

    def __init__(self, config: DecoderConfig, attention: AttentionFactory):
        super().__init__()
        self.args = config
        self.model_type = config.model_type
        self.model = Decoder(config, attention)
        if not config.tied_head:
            self.lm_head = nn.Linear(config.hidden, config.vocab, bias=False)
        if config.mtp:
            self.mtp = mtp_layers(config, attention)
            for layer in self.mtp:
                if isinstance(layer, HyperMTPLayer):
                    layer.embed, layer.output = self.embed, self.head

    def __call__(
        self, ids: mx.array, cache=None, input_embeddings: mx.array | None = None
    ) -> mx.array:
        """Logits [B, L, vocab] of ids [B, L]; `cache` from make_cache() grows by L."""
        return self.head(self.hidden(ids, cache, input_embeddings))

    @property
    def layers(self) -> list[DecoderLayer]:
        """The decoder's layers, without MTP."""
        return self.model.layers

    def make_cache(self) -> list[Any]:
        """An empty cache per layer, as its attention wants it."""
        return [layer.make_cache() for layer in self.layers]

    def hidden(
        self, ids: mx.array, cache=None, input_embeddings: mx.array | None = None
    ) -> mx.array:
        """Hidden states [B, L, D] after the final norm."""
        return self.model(ids, cache, input_embeddings)

    def embed(self, ids: mx.array) -> mx.array:
        """Embeddings [B, L, D] of ids [B, L]."""
        return self.model.embed_tokens(ids)

    def read(
        self, ids: mx.array, cache=None, embeddings: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """Logits [B, L, vocab], and features [B, L, ...]: what the model's own drafter reads.

        The states after the final norm; all copies of a residual stream that has several; or,
        where layers are tapped, what they left.
        """
        step = Step.of(ids, embeddings)
        state = self.model.states(step, cache, embeddings)
        hidden = self.model.finish(state)
        if self.args.drafting is not None:
            return self.head(hidden), mx.concatenate(step.shared["taps"], axis=-1)
        return self.head(hidden), hidden if self.args.hyper is None else copies_of(state)

    def head(self, hidden: mx.array) -> mx.array:
        """Logits [..., vocab] of hidden states [..., D]."""
        if "lm_head" in self:
            return self.lm_head(hidden)
        return self.model.embed_tokens.as_linear(hidden)

    def mtp_logits(self, ids: mx.array) -> mx.array:
        """First MTP layer's teacher-forced logits [B, L - 1, vocab]; row i predicts token i + 2.

        Raises:
            ConfigError: the checkpoint has no MTP layer.
        """
        if "mtp" not in self:
            raise ConfigError(
                f"This {self.model_type} checkpoint has no multi-token prediction layer "
                "(num_nextn_predict_layers is 0 or its weights were left out)."
            )
        if self.args.drafting is not None:
            raise ConfigError(
                f"This {self.model_type} checkpoint drafts whole blocks (DSpark), not one token "
                "further. Expected a checkpoint with a multi-token prediction layer."
            )
        layer: Any = self.mtp[0]
        _, features = self.read(ids)
        return layer.shared_head(layer.predict(features[:, :-1], ids[:, 1:]))
