"""Multi-token prediction: an extra layer that guesses one token further (2412.19437 §2.2)."""

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.config import DecoderConfig
from mlx_deepseek.models.decoder import AttentionFactory, DecoderLayer


class SharedHead(nn.Module):
    """Final norm and output head of an MTP layer; releases store them as copies of its own."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.norm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.head = nn.Linear(config.hidden, config.vocab, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """Logits [..., vocab] of x [..., D]."""
        return self.head(self.norm(x))


class MTPLayer(DecoderLayer):
    """A decoder layer fed with the model's hidden state and the next token; HF's flat names."""

    def __init__(self, config: DecoderConfig, attention: AttentionFactory, index: int):
        super().__init__(config, attention, index)
        # V3.2's has an indexer too; a single layer is read whole, which the reference does.
        self.self_attn.sparse = False
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.enorm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.hnorm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.eh_proj = nn.Linear(2 * config.hidden, config.hidden, bias=False)
        self.shared_head = SharedHead(config)

    def predict(
        self, hidden: mx.array, next_ids: mx.array, mask: mx.array | str | None, cache=None
    ) -> mx.array:
        """Hidden states [B, L, D] that, through `shared_head`, predict the token after `next_ids`.

        `hidden` [B, L, D] is the state *after* the model's final norm, or the previous MTP layer's;
        `next_ids` [B, L] holds the token that follows each position.
        """
        embedded = self.enorm(self.embed_tokens(next_ids))
        joined = mx.concatenate([embedded, self.hnorm(hidden)], axis=-1)  # [B, L, 2 D]
        return self(self.eh_proj(joined), mask, cache)
