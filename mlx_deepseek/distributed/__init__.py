"""One model on several machines, over MLX's own `mx.distributed`.

Rank 0 has the tokenizer, the embedding, the sampler, the caches' owners and all decisions. The
others follow: before each step they are told what was done to caches, then they compute their part
of the model, whole layers (`pipeline`) or a share of every layer (`tensor`).
"""

from mlx_deepseek.distributed.group import Group
from mlx_deepseek.distributed.load import load_split

__all__ = ["Group", "load_split"]
