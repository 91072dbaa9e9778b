"""From words to pictures: Janus draws code by code, JanusFlow by rectified flow."""

from mlx_deepseek.image_generation.draw import DrawProgress, Picture, draw
from mlx_deepseek.image_generation.settings import DrawSettings

__all__ = ["DrawProgress", "DrawSettings", "Picture", "draw"]
