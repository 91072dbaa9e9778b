"""SDXL's VAE, which JanusFlow draws with: a checkpoint of its own, of which the decoder is used."""

from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.vision.decoders.autoencoder import AutoencoderConfig
from mlx_deepseek.vision.decoders.vae import VAEDecoder

# Says nothing about the decoder's arithmetic: the size of training pictures, and a way around
# half precision's small range, which bfloat16 does not have.
INERT = {"sample_size", "force_upcast"}


def build(config: Json, layout: str | None = None) -> VAEDecoder:
    """The decoder of a diffusers `AutoencoderKL` config.

    Raises:
        ConfigError: a key is missing, unknown, or asks for another computation.
    """
    reader = ConfigReader({**config, "model_type": config["_class_name"]})
    widths = tuple(reader.need("block_out_channels"))
    reader.seen |= INERT
    reader.only("act_fn", "silu")
    reader.only("in_channels", 3)
    reader.only("out_channels", 3)
    reader.only("down_block_types", ["DownEncoderBlock2D"] * len(widths))
    reader.only("up_block_types", ["UpDecoderBlock2D"] * len(widths))
    sizes = AutoencoderConfig(
        latent=reader.need("latent_channels"),
        widths=widths,
        depth=reader.need("layers_per_block"),
        groups=reader.need("norm_num_groups"),
    )
    scale = reader.need("scaling_factor")
    reader.finish()
    return VAEDecoder(sizes, scale)
