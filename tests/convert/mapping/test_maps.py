"""The tables of weight maps: how a line is read, and that every line of every table is sound."""

from collections import Counter
from importlib.resources import files

import pytest

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.models import ARCHITECTURES
from mlx_deepseek_convert.mapping import maps
from mlx_deepseek_convert.mapping.ops import ChannelsLast, Drop, SplitHeads, Stack
from mlx_deepseek_convert.mapping.rules import Rule

SIZES = {"qk_nope_head_dim": 3, "v_head_dim": 2, "o_lora_rank": 4, "o_groups": 2}
TABLES = sorted(p.name[:-4] for p in files(maps.__name__).iterdir() if p.name.endswith(".txt"))
# Parameters that releases of V4 and V4.1 call by one of two names: they have an optional rule each.
TWO_NAMES = ("markov_head.embed.weight", "markov_head.head.weight")
TWO_NAMES += ("vision.blocks.{block}.mlp.fc1.weight", "vision.blocks.{block}.mlp.fc2.weight")


def test_every_architecture_has_a_table():
    assert set(ARCHITECTURES) <= set(TABLES)
    with pytest.raises(ConfigError, match="model_type"):
        maps.rules_for({"model_type": "gpt2"})


@pytest.mark.parametrize("table", TABLES)
def test_every_line_is_a_rule_of_its_own(table):
    rules = list(dict.fromkeys(maps.read_table(table, SIZES)))
    assert len({rule.source for rule in rules}) == len(rules)
    targets = Counter(target for rule in rules for target in rule.targets)
    double = {name for name, count in targets.items() if count > 1}
    assert all(name.endswith(TWO_NAMES) and targets[name] == 2 for name in double)
    assert all(rule.optional for rule in rules if double & set(rule.targets))
    for rule in rules:
        names = " ".join([rule.source, *rule.targets])
        assert not set(names) & set("?>#,@"), rule
        assert "  " not in names
        assert rule.targets or (rule.op == Drop() and rule.optional)
        assert ("{expert}" in rule.source) == isinstance(rule.op, Stack)


def test_the_names_of_a_rule_can_be_found_in_full():
    text = (files(maps.__name__) / "deepseek_v3.txt").read_text(encoding="utf-8")
    line = (
        "model.layers.{layer}.self_attn.kv_b_proj.weight -> "
        "model.layers.{layer}.self_attn.embed_q.weight, "
        "model.layers.{layer}.self_attn.unembed_out.weight  split_heads"
    )
    assert line in text.splitlines()
    rules = {rule.source: rule for rule in maps.read_table("deepseek_v3", SIZES)}
    source, targets = line.removesuffix("  split_heads").split(" -> ")
    assert rules[source] == Rule(source, tuple(targets.split(", ")), SplitHeads(3, 2))
    assert rules["model.norm.weight"] == Rule("model.norm.weight", ("model.norm.weight",))


def test_includes_prefix_names():
    rules = {rule.source: rule for rule in maps.read_table("deepseek_vl", SIZES)}
    norm = rules["language_model.model.norm.weight"]
    assert (norm.targets, norm.optional) == (("language.model.norm.weight",), False)
    patches = rules["vision_model.vision_tower.patch_embed.proj.weight"]
    assert patches.targets == ("vision.patch_embed.proj.weight",)
    assert patches.op == ChannelsLast()
    assert patches.optional  # VL-7B has two towers of other names
    unused = rules["vision_model.vision_tower.attn_pool.latent"]
    assert (unused.targets, unused.op) == ((), Drop())


def test_a_tied_head_is_left_out():
    config = {"model_type": "llama", "tie_word_embeddings": True}
    heads = [rule for rule in maps.rules_for(config) if rule.source == "lm_head.weight"]
    assert heads == [Rule("lm_head.weight", (), Drop(), optional=True)]
