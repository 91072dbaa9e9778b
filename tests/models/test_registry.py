"""Configs: what is refused and why, and how released oddities are read."""

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.models.dense import normalise


@pytest.fixture
def v3(golden_config):
    return golden_config("deepseek_v3")


def test_unknown_architecture_names_the_known_ones(v3):
    with pytest.raises(ConfigError, match=r"'gpt5'.*deepseek_v3"):
        models.build({**v3, "model_type": "gpt5"})


def test_unknown_keys_are_refused_not_ignored(v3):
    with pytest.raises(ConfigError, match="sliding_softcap"):
        models.build({**v3, "sliding_softcap": 30})


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_act", "gelu"), ("scoring_func", "tanh"), ("topk_method", "random")]
)
def test_values_we_do_not_compute_are_refused(v3, key, value):
    with pytest.raises(ConfigError, match=f"{key}.*{value}"):
        models.build({**v3, key: value})


@pytest.mark.parametrize("key", ["kv_lora_rank", "num_hidden_layers", "moe_intermediate_size"])
def test_missing_keys_are_named(v3, key):
    del v3[key]
    with pytest.raises(ConfigError, match=key):
        models.build(v3)


@pytest.mark.parametrize(
    ("case", "key", "value"),
    [("r1_distill_qwen", "use_sliding_window", True), ("r1_0528_qwen3", "hidden_act", "gelu")],
)
def test_dense_models_refuse_what_their_class_ignores(golden_config, case, key, value):
    with pytest.raises(ConfigError, match=key):
        models.build({**golden_config(case), key: value})


def test_attn_factor_cancels_yarns_own_scale():
    scaling = {"rope_type": "yarn", "factor": 4.0, "attn_factor": 0.8782488562869419}
    assert normalise({"rope_scaling": scaling})["rope_scaling"]["mscale"] == 0.0


def test_without_attn_factor_qwen3_equals_transformers(golden_config, goldens, goldens_root):
    from mlx_deepseek_convert import weights

    config, golden = golden_config("r1_0528_qwen3"), goldens("r1_0528_qwen3")
    del config["rope_scaling"]["attn_factor"]
    model = models.build(config)
    model.load_weights(list(weights(goldens_root / "r1_0528_qwen3", "float32")))
    error = mx.abs(model(golden["input_ids"]) - golden["logits"]).max()
    assert float(error / mx.sqrt(mx.var(golden["logits"]))) <= 1e-4


def test_an_absent_tie_word_embeddings_means_untied(golden_config):
    config = golden_config("deepseek_llm_7b")
    del config["tie_word_embeddings"]
    assert "lm_head.weight" in dict(tree_flatten(models.build(config).parameters()))


def test_layouts_differ_only_in_the_up_projections(v3):
    names = {
        layout: {n for n, _ in tree_flatten(models.build(v3, layout).parameters())}
        for layout in ("kv_b_proj", "split")
    }
    only = {n.rsplit(".", 2)[-2] for n in names["split"] ^ names["kv_b_proj"]}
    assert only == {"kv_b_proj", "embed_q", "unembed_out"}


def test_any_number_of_mtp_layers(v3):
    model = models.build({**v3, "num_nextn_predict_layers": 3})
    assert len(model.mtp) == 3
    assert len(model.layers) == v3["num_hidden_layers"]


def test_norm_topk_prob_on_v2_follows_the_later_code(golden_config, goldens, goldens_root):
    """Released V2 files say false; what true means is fixed by the code that VL2 ships."""
    from mlx_deepseek_convert import weights

    for case in ("deepseek_v2_lite", "deepseek_v2", "deepseek_moe_16b"):
        golden = goldens(case)
        model = models.build({**golden_config(case), "norm_topk_prob": True})
        model.load_weights(list(weights(goldens_root / case, "float32")))
        want = golden["logits_norm_topk_prob_true"]
        error = mx.abs(model(golden["input_ids"]) - want).max() / mx.sqrt(mx.var(want))
        assert float(error) <= 1e-4, case


def test_building_the_largest_model_takes_no_memory(v3):
    big = {"hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048}
    big |= {"num_hidden_layers": 61, "n_routed_experts": 256, "num_attention_heads": 128}
    before = mx.get_active_memory()
    model = models.build({**v3, **big})
    assert sum(v.size for _, v in tree_flatten(model.parameters())) > 6e11 / 30
    assert mx.get_active_memory() - before < 2**24
    assert isinstance(model, nn.Module)
