"""The spellings of transformers 5 in config.json, as those of the releases; the numbers are equal.

What a key says that would change the computation is refused by name, never dropped.
"""

from typing import Any

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.rope import Json, mscale

# What rotary embeddings of each kind read; other keys would change them.
ROPE_KEYS = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset(
        {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
    ),
    "yarn": frozenset(
        {
            "factor",
            "original_max_position_embeddings",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "attn_factor",
        }
    ),
}
# `layer_types` that say what is computed anyway; the latter where there is an indexer.
ATTENTIONS = ("full_attention",)
SPARSE_ATTENTIONS = ("indexed_attention", "deepseek_sparse_attention")
# Keys of transformers 5 that may only have the value that is computed.
FIXED_ROPE = {"partial_rotary_factor": 1.0, "truncate": True}
V4_FIXED = ("partial_rotary_factor", "attention_factor")


def released(config: Json) -> dict[str, Any]:
    """The config in the releases' spelling, its parts too.

    Raises:
        ConfigError: a key asks for what is not computed, or two keys contradict each other.
    """
    tables = config.get("rope_parameters")
    if isinstance(tables, dict) and isinstance(tables.get("compress"), dict):
        return {**config, "rope_parameters": _v4_tables(config, tables)}
    out = {
        key: released(value) if key.endswith("_config") and isinstance(value, dict) else value
        for key, value in config.items()
    }
    if out.get("rope_parameters") is not None:
        _rope_parameters(out)
    out.pop("rope_parameters", None)
    if out.get("rope_scaling") is not None:
        out["rope_scaling"] = _rope_scaling(out["rope_scaling"])
    attentions = (*ATTENTIONS, *SPARSE_ATTENTIONS) if "index_topk" in out else ATTENTIONS
    for key, kinds in (("layer_types", attentions), ("mlp_layer_types", None)):
        if out.get(key) is not None and not isinstance(out[key], list):
            raise ConfigError(f"config.json has {key} = {out[key]!r:.60}. Expected a list.")
        if kinds and any(kind not in kinds for kind in out.get(key) or ()):
            raise ConfigError(
                f"config.json has {key} other than {' and '.join(map(repr, kinds))}; this version "
                "computes no others and would give wrong results."
            )
        if out.get(key) and len(out[key]) != out.get("num_hidden_layers", len(out[key])):
            raise ConfigError(
                f"config.json has {len(out[key])} {key} for num_hidden_layers = "
                f"{out['num_hidden_layers']!r:.20}. Expected one each; take config.json from the "
                "original repository."
            )
    if out.pop("mlp_layer_types", None) is not None:
        _dense_first(out, config["mlp_layer_types"])
    if "kv_lora_rank" in out:
        _attention_widths(out)
    return out


def _v4_tables(config: Json, tables: Json) -> dict[str, Any]:
    """V4's `rope_parameters`, a table for each of two kinds of layer, in what its reader knows."""
    out: dict[str, Any] = {}
    if set(tables) != {"main", "compress"}:
        raise ConfigError(
            f"config.json has rope_parameters for {', '.join(tables):.60}. Expected a table for "
            "'main' and one for 'compress'."
        )
    for kind, table in tables.items():
        rest = {k: v for k, v in table.items() if k not in (*V4_FIXED, "rope_theta")}
        scaling = _rope_scaling(rest) or {}
        turns = int(table.get("partial_rotary_factor", 1) * config["head_dim"])
        fixed = {
            "partial_rotary_factor": turns == config["qk_rope_head_dim"],
            "attention_factor": table.get("attention_factor") in (None, 1),
            "rope_type": kind == "compress" or not scaling,
        }
        wrong = [key for key, fits in fixed.items() if not fits and key in table]
        if wrong:
            raise ConfigError(
                f"config.json has {wrong[0]} = {table[wrong[0]]!r:.60} in rope_parameters of "
                f"{kind!r:.20}; this version computes another and would give wrong results."
            )
        out[kind] = {**scaling, "rope_theta": table.get("rope_theta")}
    return out


def _rope_parameters(out: dict[str, Any]) -> None:
    """`rope_parameters` as `rope_theta` and `rope_scaling`."""
    parameters = out["rope_parameters"]
    if not isinstance(parameters, dict) or any(isinstance(v, dict) for v in parameters.values()):
        raise ConfigError(
            f"config.json has rope_parameters = {parameters!r:.60}. Expected one table for all "
            "layers; this version computes no others."
        )
    scaling = {k: v for k, v in parameters.items() if k != "rope_theta" and v is not None}
    plain = scaling in ({}, {"rope_type": "default"}, {"type": "default"})
    new = {"rope_theta": parameters.get("rope_theta"), "rope_scaling": None if plain else scaling}
    for key, value in new.items():
        old = out.get(key)
        if value is not None and old is not None and old != value:
            raise ConfigError(
                f"config.json has {key} = {old!r:.60} and another one in rope_parameters. Expected "
                "one of them; take config.json from the original repository."
            )
        out[key] = old if value is None else value


def _rope_scaling(scaling: Any) -> dict[str, Any] | None:
    """`rope_scaling` without the keys that say nothing, None where it scales nothing."""
    if not isinstance(scaling, dict):
        raise ConfigError(f"config.json has rope_scaling = {scaling!r:.60}. Expected a table.")
    out = {k: v for k, v in scaling.items() if v is not None and k != "rope_theta"}
    for key, value in FIXED_ROPE.items():
        if out.pop(key, value) != value:
            raise ConfigError(
                f"config.json has {key} = {scaling[key]!r:.60} in rope_scaling; this version "
                f"computes {value!r} and would give wrong results."
            )
    kind = out.get("type", out.get("rope_type", "default"))
    if out.get("rope_type", kind) != kind or kind not in list(ROPE_KEYS):
        raise ConfigError(
            f"config.json has rope_scaling of type {kind!r:.60}, or of two. Expected one of "
            f"{', '.join(ROPE_KEYS)}."
        )
    numbers = {k: v for k, v in out.items() if k not in ("type", "rope_type")}
    unknown = sorted(numbers.keys() - ROPE_KEYS[kind])
    if unknown:
        raise ConfigError(
            f"config.json has keys in rope_scaling of type {kind!r} that this version does not "
            f"know: {', '.join(unknown):.60}. They may change the computation, so they are refused."
        )
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise ConfigError(
                f"config.json has {key} = {value!r:.60} in rope_scaling. Expected a number."
            )
    missing = {"yarn": ("factor", "original_max_position_embeddings"), "linear": ("factor",)}
    for key in missing.get(kind, ROPE_KEYS[kind]):
        if not numbers.get(key):
            raise ConfigError(f"config.json has rope_scaling of type {kind!r} without {key}.")
    if kind == "yarn":
        _one_magnitude(numbers)
    return None if kind == "default" else out


def _one_magnitude(scaling: Json) -> None:
    """Refuse YaRN's temperatures where DeepSeek's code and transformers read them differently.

    DeepSeek's code takes 1 and 0 for `mscale` and `mscale_all_dim` where they are missing;
    transformers takes the first as 1 and the second as 0 unless both are there and not 0.
    """
    factor = scaling["factor"]
    own, every = scaling.get("mscale", 1), scaling.get("mscale_all_dim", 0)
    both = scaling.get("mscale") and every
    ours = mscale(factor, own) / mscale(factor, every)
    theirs = ours if both else mscale(factor, 1)
    if abs(ours - theirs) > 1e-6:
        raise ConfigError(
            f"config.json has mscale = {scaling.get('mscale')!r:.60} and mscale_all_dim = "
            f"{scaling.get('mscale_all_dim')!r:.60} in rope_scaling, which DeepSeek's code and "
            "transformers read differently. Expected both, above 0, or neither."
        )


def _dense_first(out: dict[str, Any], kinds: list[Any]) -> None:
    """`mlp_layer_types` as `first_k_dense_replace`."""
    dense = next((i for i, kind in enumerate(kinds) if kind != "dense"), len(kinds))
    whole = all(kind == "sparse" for kind in kinds[dense:])
    before = out.setdefault("first_k_dense_replace", dense)
    layers = out.get("num_hidden_layers", len(kinds))
    if not whole or len(kinds) != layers or min(before, layers) != dense:
        raise ConfigError(
            f"config.json has mlp_layer_types = {kinds!r:.60}. Expected first_k_dense_replace "
            "times 'dense', then 'sparse'; this version computes no others."
        )


def _attention_widths(out: dict[str, Any]) -> None:
    """Drop widths of heads that other keys say already."""
    nope, rope = (out.get(key) or 0 for key in ("qk_nope_head_dim", "qk_rope_head_dim"))
    if not (isinstance(nope, int) and isinstance(rope, int)):
        return  # refused with their names later
    known = {"head_dim": {rope, nope + rope}, "qk_head_dim": {nope + rope}}
    known |= {"rope_interleave": {True}, "mlp_bias": {False}}
    for key, values in known.items():
        value = out.pop(key, None)
        if value is not None and value not in values:
            raise ConfigError(
                f"config.json has {key} = {value!r:.60}; this version computes "
                f"{' or '.join(map(repr, values))} and would give wrong results."
            )
