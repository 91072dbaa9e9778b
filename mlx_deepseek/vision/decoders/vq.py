"""VQ-16, the tokenizer of pictures that Janus draws with (arXiv:2406.06525 §2.1): codes to pixels.

A picture is a grid of codes; each stands for a vector of length one, which the decoder turns into
16 x 16 pixels.
"""

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.vision.decoders.autoencoder import AutoencoderConfig, ConvDecoder, ConvEncoder


class VQTokenizer(nn.Module):
    """`codes` vectors of `dim` numbers, between an encoder and a decoder."""

    def __init__(self, config: AutoencoderConfig, codes: int, dim: int):
        super().__init__()
        self.patch_px = config.reduction
        self.encoder = ConvEncoder(config)
        self.quant = nn.Linear(config.latent, dim)
        self.codebook = mx.zeros((codes, dim))
        self.post_quant = nn.Linear(dim, config.latent)
        self.decoder = ConvDecoder(config)

    def encode(self, pixels: mx.array) -> mx.array:
        """Codes [B, h, w] of pixels [B, H, W, 3] in [-1, 1]: of all vectors the nearest ones."""
        vectors = unit(self.quant(self.encoder(pixels)))
        return (vectors @ unit(self.codebook).T).argmax(axis=-1)  # of length one: nearest is widest

    def vectors(self, codes: mx.array) -> mx.array:
        """Vectors [..., dim] of codes [...]."""
        return unit(self.codebook[codes]).astype(self.codebook.dtype)

    def decode(self, codes: mx.array) -> mx.array:
        """Pixels [B, H, W, 3], about in [-1, 1], of codes [B, h, w]."""
        return self.decoder(self.post_quant(self.vectors(codes)))


def unit(vectors: mx.array) -> mx.array:
    """Vectors [..., dim] divided by their length, in float32, in which close codes differ."""
    vectors = vectors.astype(mx.float32)
    return vectors / mx.maximum(mx.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
