"""SDXL's VAE decoder (arXiv:2307.01952 §2.4), which turns JanusFlow's latents into pixels.

Its encoder is left out: nothing here encodes pictures with it.
"""

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.vision.decoders.autoencoder import AutoencoderConfig, ConvDecoder


class VAEDecoder(nn.Module):
    """Latents, `scale` times what the decoder was trained on, to pixels."""

    def __init__(self, config: AutoencoderConfig, scale: float):
        super().__init__()
        self.scale = scale
        self.post_quant = nn.Linear(config.latent, config.latent)
        self.decoder = ConvDecoder(config)

    def __call__(self, latents: mx.array) -> mx.array:
        """Pixels [B, 8 h, 8 w, 3], about in [-1, 1], of latents [B, h, w, C]."""
        latents = (latents / self.scale).astype(self.post_quant.weight.dtype)
        return self.decoder(self.post_quant(latents))
