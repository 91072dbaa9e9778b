"""A released config.json, read into the few numbers that each part of a model needs.

Dimension legend, the same in every file: B batch, L new tokens, S cached tokens, H heads, D model
width, Q query rank, R kv rank, N nope dim, P rope dim, V value dim, E experts, K experts per token,
F expert width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlx_deepseek.errors import ConfigError

Json = Mapping[str, Any]

# Keys of released files that say nothing about the forward pass.
INERT_KEYS = frozenset(
    {
        "architectures",
        "attention_dropout",
        "auto_map",
        "aux_loss_alpha",
        "bos_token_id",
        "dtype",
        "ep_size",
        "eos_token_id",
        "initializer_range",
        "layer_types",
        "max_position_embeddings",
        "max_window_layers",
        "model_type",
        "name_or_path",
        "pad_token_id",
        "pretraining_tp",
        "quantization",
        "quantization_config",
        "seq_aux",
        "sliding_window",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding (arXiv:2104.09864) with an optional context extension."""

    dims: int
    theta: float = 10_000.0
    interleaved: bool = True
    scaling: Json | None = None


@dataclass(frozen=True)
class IndexerConfig:
    """The lightning indexer of sparse attention: `topk` tokens per query, of `heads` x `dim`."""

    hidden: int
    query_rank: int
    heads: int
    dim: int
    topk: int
    rope: RopeConfig


@dataclass(frozen=True)
class MLAConfig:
    """Multi-head Latent Attention (arXiv:2405.04434 §2.1); `query_rank` None: no compression.

    With an `indexer` it is sparse.
    """

    hidden: int
    heads: int
    query_rank: int | None
    kv_rank: int
    nope_dim: int
    value_dim: int
    rope: RopeConfig
    bias: bool = False
    indexer: IndexerConfig | None = None


@dataclass(frozen=True)
class MHAConfig:
    """Multi-head attention with optionally shared key/value heads."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    rope: RopeConfig
    bias: bool = False


@dataclass(frozen=True)
class RouterConfig:
    """How tokens choose experts (arXiv:2412.19437 §2.1.2)."""

    hidden: int
    experts: int
    per_token: int
    scoring: str = "softmax"  # softmax | sigmoid
    method: str = "greedy"  # greedy | group_limited_greedy | noaux_tc
    groups: int = 1
    groups_kept: int = 1
    normalise: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class MoEConfig:
    """Fine-grained routed experts beside shared ones (arXiv:2401.06066 §3)."""

    router: RouterConfig
    width: int
    shared_width: int
    first_layer: int = 0
    layer_freq: int = 1

    def at(self, layer: int) -> bool:
        """Whether decoder layer `layer` routes; the others have one dense MLP."""
        return layer >= self.first_layer and layer % self.layer_freq == 0


@dataclass(frozen=True)
class DecoderConfig:
    """A DeepSeek decoder: one attention for all layers, dense MLPs first, experts after."""

    model_type: str
    vocab: int
    hidden: int
    layers: int
    dense_width: int
    eps: float
    attention: MLAConfig | MHAConfig
    moe: MoEConfig | None
    tied_head: bool = False
    mtp_layers: int = 0


class Reader:
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
                f"config.json of model type {self.name!r} has {key} = {value!r}; this version "
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
            f"{', '.join(unknown)}. They may change the computation, so they are refused. "
            "Update mlx-deepseek, or remove them if you know that they have no effect."
        )


def read_rope(reader: Reader, dims: int, *, interleaved: bool) -> RopeConfig:
    """The rotary embedding of `dims` channels, from rope_theta and rope_scaling."""
    return RopeConfig(
        dims=dims,
        theta=float(reader.get("rope_theta", 10_000.0)),
        interleaved=interleaved,
        scaling=reader.get("rope_scaling", None),
    )


def read_mla(reader: Reader) -> MLAConfig:
    """Multi-head Latent Attention's dimensions (DeepSeek-V2 and later)."""
    reader.seen.add("num_key_value_heads")  # equal to the heads in every release, and unused
    return MLAConfig(
        hidden=reader.need("hidden_size"),
        heads=reader.need("num_attention_heads"),
        query_rank=reader.get("q_lora_rank", None),
        kv_rank=reader.need("kv_lora_rank"),
        nope_dim=reader.need("qk_nope_head_dim"),
        value_dim=reader.need("v_head_dim"),
        rope=read_rope(reader, reader.need("qk_rope_head_dim"), interleaved=True),
        bias=reader.get("attention_bias", False),
    )


def read_sparse_mla(reader: Reader) -> MLAConfig:
    """The same with the indexer's dimensions (DeepSeek-V3.2)."""
    indexer = IndexerConfig(
        hidden=reader.need("hidden_size"),
        query_rank=reader.need("q_lora_rank"),
        heads=reader.need("index_n_heads"),
        dim=reader.need("index_head_dim"),
        topk=reader.need("index_topk"),
        # Halves, unlike MLA's pairs; the first published demo had it wrong.
        rope=read_rope(reader, reader.need("qk_rope_head_dim"), interleaved=False),
    )
    return replace(read_mla(reader), indexer=indexer)


def read_mha(reader: Reader) -> MHAConfig:
    """Multi-head attention's dimensions (DeepSeekMoE-16B)."""
    hidden, heads = reader.need("hidden_size"), reader.need("num_attention_heads")
    head_dim = reader.get("head_dim", hidden // heads)
    return MHAConfig(
        hidden=hidden,
        heads=heads,
        kv_heads=reader.get("num_key_value_heads", heads),
        head_dim=head_dim,
        rope=read_rope(reader, head_dim, interleaved=False),
        bias=reader.get("attention_bias", False),
    )


ATTENTIONS = {"mla": read_mla, "sparse_mla": read_sparse_mla, "mha": read_mha}


def read_moe(reader: Reader, *, scoring: str, method: str) -> MoEConfig | None:
    """Experts and router; `scoring` and `method` are the architecture's defaults."""
    experts = reader.get("n_routed_experts", None)
    if experts is None:
        return None
    width = reader.need("moe_intermediate_size")
    router = RouterConfig(
        hidden=reader.need("hidden_size"),
        experts=experts,
        per_token=reader.need("num_experts_per_tok"),
        scoring=reader.only("scoring_func", scoring, "softmax", "sigmoid"),
        method=reader.only("topk_method", method, "greedy", "group_limited_greedy", "noaux_tc"),
        groups=reader.get("n_group", 1),
        groups_kept=reader.get("topk_group", 1),
        normalise=reader.get("norm_topk_prob", False),
        scale=float(reader.get("routed_scaling_factor", 1.0)),
    )
    if experts % router.groups or router.per_token > experts:
        raise ConfigError(
            f"config.json of model type {reader.name!r}: {experts} experts cannot be split into "
            f"{router.groups} groups with {router.per_token} chosen per token."
        )
    return MoEConfig(
        router=router,
        width=width,
        shared_width=width * reader.get("n_shared_experts", 0),
        first_layer=reader.get("first_k_dense_replace", 0),
        layer_freq=reader.get("moe_layer_freq", 1),
    )


def read_decoder(
    config: Json, attention: str, *, scoring: str = "softmax", method: str = "greedy"
) -> DecoderConfig:
    """Read a whole DeepSeek config; `attention` is one of ATTENTIONS.

    Raises:
        ConfigError: a key is missing, has a value we do not compute, or is unknown.
    """
    reader = Reader(config)
    reader.only("hidden_act", "silu")
    decoder = DecoderConfig(
        model_type=reader.need("model_type"),
        vocab=reader.need("vocab_size"),
        hidden=reader.need("hidden_size"),
        layers=reader.need("num_hidden_layers"),
        dense_width=reader.need("intermediate_size"),
        eps=float(reader.get("rms_norm_eps", 1e-6)),
        attention=ATTENTIONS[attention](reader),
        moe=read_moe(reader, scoring=scoring, method=method),
        tied_head=reader.get("tie_word_embeddings", False),
        mtp_layers=reader.get("num_nextn_predict_layers", 0),
    )
    reader.finish()
    return decoder
