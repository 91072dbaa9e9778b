"""Configs as anyone may have written them: the same numbers, or refused by name at once."""

import copy
import json
import random
import time

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.models.values import COUNTS, FLAGS, NUMBERS, WORDS

IDS = mx.array([[5, 7, 9, 11, 13]])
TEXT = (
    "deepseek_llm_67b",
    "deepseek_moe_16b",
    "deepseek_v2",
    "deepseek_v2_lite",
    "deepseek_v3",
    "deepseek_v32",
    "r1_0528_qwen3",
    "r1_distill_llama",
    "r1_distill_qwen",
)
VISION = ("deepseek_ocr", "deepseek_vl2", "deepseek_vl_1p3b", "deepseek_vl_7b")


def odd():
    """Values that belong nowhere, new ones at each call: configs are changed in place."""
    numbers = [None, True, -1, 0, 1.5, 10**9, 1e308, float("nan")]
    return [*numbers, "", "../../x", "os", [], {}, [1], "x" * 9999]


def logits(config):
    mx.random.seed(0)
    return models.build(config)(IDS)


def newer(config):
    """As transformers 5 saves it."""
    scaling, theta = config.pop("rope_scaling", None), config.pop("rope_theta")
    scaling = {("rope_type" if k == "type" else k): v for k, v in (scaling or {}).items()}
    out = {**config, "rope_parameters": {"rope_type": "default", **scaling, "rope_theta": theta}}
    if "kv_lora_rank" in config:
        out |= {"head_dim": config["qk_rope_head_dim"], "rope_interleave": True, "mlp_bias": False}
        out["qk_head_dim"] = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
        dense, layers = config["first_k_dense_replace"], config["num_hidden_layers"]
        out["mlp_layer_types"] = ["dense"] * dense + ["sparse"] * (layers - dense)
        del out["first_k_dense_replace"]
    layers = ["full_attention"] * config["num_hidden_layers"]
    return {**out, "layer_types": layers, "output_router_logits": False, "dtype": "bfloat16"}


@pytest.mark.parametrize("case", TEXT)
def test_the_spelling_of_transformers_5_is_the_same_model(golden_config, case):
    old = logits(golden_config(case))
    assert mx.array_equal(logits(newer(golden_config(case))), old)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_interleave", False),
        ("qk_head_dim", 31),
        ("head_dim", 31),
        ("mlp_bias", True),
        ("mlp_layer_types", ["sparse", "dense", "sparse"]),
        ("mlp_layer_types", "sparse"),
        ("layer_types", ["full_attention"] * 2),
        ("layer_types", ["indexed_attention"] * 3),
        ("scoring_func", "softmax"),
        ("topk_method", "greedy"),
        ("norm_topk_prob", None),
        ("routed_scaling_factor", None),
        ("n_group", None),
        ("topk_group", None),
        ("num_experts_per_tok", 1),
        ("qk_rope_head_dim", 15),
        ("layer_types", ["sliding_attention"] * 3),
        ("rope_parameters", {"full_attention": {"rope_type": "default"}}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 5.0}),
        ("rope_parameters", {"rope_type": "default", "partial_rotary_factor": 0.5}),
        ("rope_scaling", {"type": "yarn", "factor": 40}),
        ("rope_scaling", {"type": "linear"}),
        ("rope_scaling", {"type": "dynamic", "factor": 2}),
        ("rope_scaling", {"type": "linear", "rope_type": "yarn", "factor": 2}),
        ("rope_scaling", {"type": "linear", "factor": 2, "attention_factor": 3}),
        ("rope_scaling", "linear"),
        ("num_experts_per_tok", 1.5),
        ("norm_topk_prob", []),
        ("topk_group", -1),
        ("topk_group", ""),
        ("max_position_embeddings", "../../x"),
        ("num_hidden_layers", 100_000),
    ],
)
def test_what_would_change_the_numbers_is_refused_by_name(golden_config, key, value):
    config = golden_config("deepseek_v3")
    with pytest.raises(ConfigError, match=key) as caught:
        models.build({**config, key: value})
    assert len(str(caught.value)) < 500


def refused(config, key):
    with pytest.raises(ConfigError, match=key) as caught:
        models.build(config)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("case", "key", "value"),
    [
        ("deepseek_v2", "scoring_func", "sigmoid"),
        ("deepseek_v2", "topk_method", "noaux_tc"),
        ("deepseek_moe_16b", "topk_method", "group_limited_greedy"),
        ("deepseek_moe_16b", "num_key_value_heads", 3),
        ("deepseek_moe_16b", "head_dim", 15),
        ("deepseek_v4_vision", "norm_topk_prob", False),
        ("deepseek_v4_vision", "mlp_bias", True),
        ("deepseek_v4_vision", "swiglu_limit", None),
        ("deepseek_v4_vision", "partial_rotary_factor", 0.5),
        ("deepseek_v4_vision", "topk_method", "greedy"),
        ("deepseek_v4_vision", "hc_sinkhorn_iters", 1.5),
    ],
)
def test_other_architectures_refuse_by_name_too(golden_config, case, key, value):
    refused({**golden_config(case), key: value}, "heads" if key.startswith("num_key") else key)


# What DeepSeek's code makes of (mscale, mscale_all_dim), and what transformers makes of them.
SAME = [(None, None), (1, None), (1, 0), (0.7, 0.7), (0.5, 1.0)]
DIFFERENT = [(0.7, None), (None, 0.7), (0, 1), (0.5, 0), (0, 0)]


@pytest.mark.parametrize("case", ["deepseek_v3", "r1_distill_llama", "deepseek_moe_16b"])
def test_temperatures_that_are_read_in_two_ways_are_refused(golden_config, case):
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    for own, every in SAME + DIFFERENT:
        scaling = {**yarn, "mscale": own, "mscale_all_dim": every}
        config = {**golden_config(case), "rope_scaling": scaling}
        if (own, every) in SAME:
            assert mx.isfinite(logits(config)).all()
        else:
            refused(config, "mscale")


def test_yarn_is_no_temperature_of_plain_attention(golden_config):
    """transformers' Llama, which stands in for MoE-16B's, scales rotated vectors only."""
    yarn = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 2048}
    config = golden_config("deepseek_moe_16b")
    for every in (0.5, 1.0):
        scaling = {**yarn, "mscale": 1.0, "mscale_all_dim": every}
        attention = models.build({**config, "rope_scaling": scaling}).layers[0].self_attn
        assert attention.scale == attention.config.head_dim**-0.5


def test_attn_factor_is_known_to_qwen_only(golden_config):
    scaling = {**golden_config("deepseek_v3")["rope_scaling"], "attn_factor": 0.8}
    refused({**golden_config("deepseek_v3"), "rope_scaling": scaling}, "attn_factor")
    assert mx.isfinite(logits(golden_config("r1_0528_qwen3"))).all()


@pytest.mark.parametrize("case", [*TEXT, "deepseek_v4_vision"])
def test_what_transformers_saves_is_the_same_model(golden_config, goldens_root, tmp_path, case):
    """The file that the installed release itself writes of the released one."""
    transformers = pytest.importorskip("transformers")
    if golden_config(case)["model_type"] not in transformers.models.auto.CONFIG_MAPPING:
        pytest.skip("this release of transformers does not know the architecture")
    transformers.AutoConfig.from_pretrained(goldens_root / case).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    saved.pop("quantization_config", None)
    assert ("rope_parameters" in saved) != ("rope_scaling" in saved)
    assert mx.array_equal(logits(saved), logits(golden_config(case)))


def test_v4_tables_of_rotation_are_checked(golden_config):
    """One table for each kind of layer; what either says that is not computed is refused."""
    config = golden_config("deepseek_v4_vision")
    old, scaling = logits(config), config.pop("rope_scaling")
    share = config["qk_rope_head_dim"] / config["head_dim"]
    compress = {**scaling, "rope_theta": config["compress_rope_theta"], "attention_factor": 1.0}
    main = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    main, compress = ({**table, "partial_rotary_factor": share} for table in (main, compress))

    def with_tables(**tables):
        return {**config, "rope_parameters": {"main": main, "compress": compress, **tables}}

    assert mx.array_equal(logits(with_tables()), old)
    refused(with_tables(compress={**compress, "attention_factor": 1.2}), "attention_factor")
    for kind, table in (("main", main), ("compress", compress)):
        half = {**table, "partial_rotary_factor": 0.9}
        refused(with_tables(**{kind: half}), "partial_rotary_factor")
        refused(with_tables(**{kind: {**table, "unknown": 1}}), "unknown")
        strange = {k: v for k, v in table.items() if k != "type"} | {"rope_type": "longrope"}
        refused(with_tables(**{kind: strange}), "longrope")
    refused(with_tables(main={**main, "rope_type": "linear", "factor": 2.0}), "rope_type")
    refused(with_tables(other=main), "other")
    refused({**config, "rope_parameters": {"compress": compress}}, "main")


def test_a_window_of_one_token_computes(golden_config):
    assert mx.isfinite(logits({**golden_config("deepseek_v4_vision"), "sliding_window": 1})).all()


@pytest.mark.parametrize("name", ["mistral", "os", "..cache", "gemma3", "deepseek_v3"])
def test_a_foreign_language_model_is_not_imported(golden_config, name):
    config = golden_config("deepseek_vl_1p3b")
    config["language_config"]["model_type"] = name
    with pytest.raises(ConfigError, match="language model"):
        models.build(config)


@pytest.mark.parametrize(
    ("case", "path"),
    [
        ("deepseek_vl_1p3b", ("aligner_config", "params", "depth")),
        ("deepseek_ocr", ("vision_config", "width", "sam_vit_b", "layers")),
    ],
)
def test_a_hundred_thousand_layers_are_refused_at_once(golden_config, case, path):
    config = golden_config(case)
    part = config
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = 100_000
    began = time.process_time()
    with pytest.raises(ConfigError, match=f"{path[-1]} = 100000"):
        models.build(config)
    assert time.process_time() - began < 1.0


def places(config):
    """Every table of a config, with its keys."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from places(value)


@pytest.mark.parametrize("case", [*TEXT, *VISION])
def test_any_mutation_is_refused_or_computes(golden_config, case):
    """Forty configs with one or two odd values; whatever is built gives finite logits."""
    chance = random.Random(case)
    known = sorted({*COUNTS, *NUMBERS, *FLAGS, *WORDS})
    for _ in range(40):
        config, message = copy.deepcopy(golden_config(case)), ""
        for _ in range(chance.choice([1, 1, 2])):
            table = chance.choice(list(places(config)))
            key = chance.choice([*table, chance.choice(known)])
            table[key] = chance.choice(odd())
        try:
            model = models.build(config)
            if sum(array.size for _, array in tree_flatten(model.parameters())) < 1e7:
                assert mx.isfinite(model(IDS)).all(), json.dumps(config)[:2000]
        except ConfigError as error:
            message = str(error)
        assert len(message) < 800
