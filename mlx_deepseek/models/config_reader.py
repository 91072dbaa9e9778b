"""Takes keys out of a config.json, and refuses those that nobody took."""

from typing import Any

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.rope import Json

# Keys of released files that say nothing about the forward pass.
INERT_KEYS = frozenset(
    {
        "architectures",
        "chunk_size_feed_forward",
        "attention_dropout",
        "auto_map",
        "aux_loss_alpha",
        "bos_token_id",
        "dtype",
        "ep_size",
        "eos_token_id",
        "id2label",
        "initializer_range",
        "is_encoder_decoder",
        "label2id",
        "layer_types",
        "max_position_embeddings",
        "max_window_layers",
        "model_type",
        "name_or_path",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "quantization",
        "quantization_config",
        "return_dict",
        "router_aux_loss_coef",
        "seq_aux",
        "sliding_window",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


class ConfigReader:
    """Takes keys out of a config.json and remembers which, so that the rest can be refused."""

    def __init__(self, config: Json):
        self.config = config
        self.name = config.get("model_type", "?")
        self.seen: set[str] = set()

    def get(self, key: str, default: Any) -> Any:
        """The value at `key`; missing and null both give `default`."""
        self.seen.add(key)
        value = self.config.get(key)
        return default if value is None else value

    def need(self, key: str) -> Any:
        """The value at `key`; ConfigError when it is missing or null."""
        value = self.get(key, None)
        if value is None:
            raise ConfigError(
                f"config.json of model type {self.name!r} lacks {key!r}. Expected a number that "
                "fixes the model's shape; take config.json from the original repository."
            )
        return value

    def only(self, key: str, *allowed: Any) -> Any:
        """The value at `key`, which must be one of `allowed`; the first is the default."""
        value = self.get(key, allowed[0])
        if value not in allowed:
            raise ConfigError(
                f"config.json of model type {self.name!r} has {key} = {value!r:.60}; this version "
                f"computes {' or '.join(map(repr, allowed))} and would give wrong results."
            )
        return value

    def finish(self) -> None:
        """Refuse keys nobody read and that are not known to be without effect."""
        refuse_unknown(self.config, self.seen, self.name)


def refuse_unknown(config: Json, known: set[str], name: str) -> None:
    """Raise ConfigError for keys outside `known` and INERT_KEYS: they may change the result."""
    unknown = sorted(
        key for key in config if key not in known | INERT_KEYS and not key.startswith("_")
    )
    if unknown:
        raise ConfigError(
            f"config.json of model type {name!r} has keys this version does not know: "
            f"{', '.join(unknown):.200}. They may change the computation, so they are refused. "
            "Update mlx-deepseek, or remove them if you know that they have no effect."
        )
