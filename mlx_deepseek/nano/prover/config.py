"""nano-prover's config.json: nano's, with another vocabulary and without drafts."""

from mlx_deepseek.layers.rope import Json
from mlx_deepseek.nano.prover.tokenizer import VOCAB
from mlx_deepseek.nano.text.config import nano_config

CONTEXT = 1024  # the longest that training shows is data.LONGEST


def prover_config(**changes: int) -> Json:
    """The config of nano-prover, in the layout of DeepSeek-V3's own file."""
    own = {"max_position_embeddings": CONTEXT, "num_nextn_predict_layers": 0, "vocab_size": VOCAB}
    return nano_config(**{**own, **changes})
