"""Recipes are ordered tables: the first match wins, and some modules are never quantized."""

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.errors import ConfigError
from mlx_deepseek_convert.planning.outputs import Output
from mlx_deepseek_convert.planning.recipes import RECIPES, Recipe, fit, get
from mlx_deepseek_convert.source.formats import Setting

LAYER = "model.layers.3."
recipes = st.sampled_from(list(RECIPES.values()))
widths = st.integers(1, 40).map(lambda n: 8 * n)


@given(st.permutations([("a", Setting(2)), ("ab", Setting(3)), ("b", Setting(4))]))
def test_first_match_wins(table):
    recipe = Recipe("test", "", tuple(table), (), Setting(8))
    assert recipe.setting("ab", (64, 64), routed=True) == table[0][1]
    assert recipe.setting("c", (64, 64), routed=True) == Setting(8)
    assert recipe.setting("ab", (64, 64), routed=False) == Setting(8)


@given(recipes, widths)
def test_router_and_norms_are_never_quantized(recipe, width):
    for path in (
        "mlp.gate",
        "input_layernorm",
        "self_attn.q_a_layernorm",
        "self_attn.q_norm",
        "self_attn.indexer.k_norm",
        "self_attn.indexer.weights_proj",
    ):
        assert recipe.setting(LAYER + path, (64, width), routed=True) is None
        assert recipe.setting(LAYER + path, (64, width), routed=False) is None


@given(recipes, st.lists(widths, min_size=2, max_size=3).map(tuple))
def test_groups_divide_the_last_axis_and_sizes_are_what_mlx_gives(recipe, shape):
    setting = recipe.setting(LAYER + "mlp.switch_mlp.down_proj", shape, routed=True)
    if setting is None:
        assert recipe.default is None or shape[-1] % 32
        return
    assert shape[-1] % setting.group_size == 0
    output = Output("x.weight", shape, "BF16", setting)
    stored = output.store(mx.zeros(shape, mx.bfloat16))
    assert [tuple(value.shape) for value in stored] == [shape for _, _, shape in output.tensors()]
    assert sum(value.nbytes for value in stored) == output.nbytes


@pytest.mark.parametrize(
    ("width", "group"), [(128, 64), (192, 64), (96, 32), (32, 32), (48, None), (130, None)]
)
def test_group_sizes_fall_back(width, group):
    fitted = fit(Setting(4), (8, width))
    assert (fitted.group_size if fitted else None) == group
    assert fit(Setting(4), (width,)) is None


def test_experts_take_fewer_bits_than_the_rest():
    for name, bits in (("4bit", 4), ("3bit", 3), ("2bit", 2), ("mxfp4", 4), ("nvfp4", 4)):
        recipe = get(name)

        def of(path: str, recipe=recipe) -> int:
            setting = recipe.setting(path, (256, 256), routed=True)
            assert setting is not None
            return setting.bits

        assert of(LAYER + "mlp.switch_mlp.gate_proj") == bits
        for path in (
            "self_attn.o_proj",
            "self_attn.q_b_proj",
            "mlp.shared_experts.up_proj",
            "mlp.up_proj",
        ):
            assert of(LAYER + path) > bits
        assert of("lm_head") >= 6
        assert of("model.embed_tokens") >= 6


@pytest.mark.parametrize(("name", "bits"), [("4bit", 8), ("3bit", 6), ("2bit", 6), ("mxfp4", 8)])
def test_the_indexer_has_the_bits_of_the_latent(name, bits):
    for path in ("indexer.wq_b", "indexer.wk", "kv_a_proj_with_mqa"):
        setting = get(name).setting(f"{LAYER}self_attn.{path}", (256, 256), routed=True)
        assert setting is not None
        assert setting.bits == bits


def test_a_dense_model_is_mostly_of_the_named_bits():
    setting = get("4bit").setting(LAYER + "mlp.up_proj", (64, 64), routed=False)
    assert setting == Setting(4)


def test_unknown_recipe():
    with pytest.raises(ConfigError, match=r"'5bit'.*4bit"):
        get("5bit")
