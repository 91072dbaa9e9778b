"""The weights that are shipped: layout, size, and that they answer."""

import json
import re

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tokenizers import Tokenizer

from mlx_deepseek import models
from mlx_deepseek.catalog.embedded import NANO, SUGGESTIONS, checkpoint_path
from mlx_deepseek.nano.text.config import nano_config
from mlx_deepseek.nano.text.evaluate import Coder, answer, final, measure_use
from mlx_deepseek.nano.text.tokenizer import EOS

FOLDER = checkpoint_path()
CONFIG = json.loads((FOLDER / "config.json").read_text())


@pytest.fixture(scope="module")
def tensors() -> dict[str, mx.array]:
    return mx.load(str(FOLDER / "model.safetensors"))


@pytest.fixture(scope="module")
def model(tensors):
    """The shipped weights in the kv_b_proj layout, which is HF's own, with experts stacked.

    Loading is strict: a name that the release lacks, or one too many, fails here.
    """
    model = models.build(CONFIG, layout="kv_b_proj")
    layers, weights = CONFIG["num_hidden_layers"], {}
    for name, value in tensors.items():
        if found := re.fullmatch(r"(.*\.mlp)\.experts\.0\.(\w+)\.weight", name):
            stack = [
                tensors[name.replace("experts.0.", f"experts.{i}.")]
                for i in range(CONFIG["n_routed_experts"])
            ]
            name, value = f"{found[1]}.switch_mlp.{found[2]}.weight", mx.stack(stack)
        elif ".experts." in name:
            continue
        name = name.replace(f"model.layers.{layers}.", "mtp.0.")
        weights[name] = value.astype(mx.float32)
    model.load_weights(list(weights.items()))
    return model


@pytest.fixture(scope="module")
def coder() -> Coder:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    return Coder(
        lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        lambda ids: tokenizer.decode(ids, skip_special_tokens=False),
    )


def test_the_config_is_the_trainers_own_with_the_features_of_v3():
    assert nano_config() == CONFIG
    assert CONFIG["q_lora_rank"]
    assert CONFIG["kv_lora_rank"]
    assert CONFIG["n_routed_experts"] >= 8
    assert CONFIG["n_group"] > CONFIG["topk_group"] > 1
    assert CONFIG["num_nextn_predict_layers"] == 1


def test_the_weights_are_small_bf16_and_in_hf_names(tensors):
    assert (FOLDER / "model.safetensors").stat().st_size <= 8e6
    for name, value in tensors.items():
        bias = name.endswith("e_score_correction_bias")
        assert value.dtype == (mx.float32 if bias else mx.bfloat16), name
    mtp = f"model.layers.{CONFIG['num_hidden_layers']}"
    shared = (("embed_tokens", "model.embed_tokens"), ("shared_head.head", "lm_head"))
    for copy, original in shared:
        assert mx.array_equal(tensors[f"{mtp}.{copy}.weight"], tensors[f"{original}.weight"])
    assert f"{mtp}.eh_proj.weight" in tensors


def test_biases_were_moved_by_the_balance_rule(tensors):
    biases = [v for k, v in tensors.items() if k.endswith("e_score_correction_bias")]
    assert len(biases) == CONFIG["num_hidden_layers"]  # all layers but the dense one, and MTP
    assert all(mx.abs(b).max().item() > 1e-3 for b in biases)


def test_both_layouts_of_the_up_projections_agree(model, coder, tensors):
    split = models.build(CONFIG)
    heads, nope = CONFIG["num_attention_heads"], CONFIG["qk_nope_head_dim"]
    weights = []
    for name, value in tree_flatten(model.parameters()):
        if name.endswith("kv_b_proj.weight"):
            both = mx.unflatten(value, 0, (heads, -1))
            up, down = both[:, :nope].swapaxes(-1, -2), both[:, nope:]
            weights.append((name.replace("kv_b_proj", "embed_q"), up))
            weights.append((name.replace("kv_b_proj", "unembed_out"), down))
        else:
            weights.append((name, value))
    split.load_weights(weights)
    ids = mx.array([coder.encode("What is 347 + 586?")])
    assert mx.abs(split(ids) - model(ids)).max().item() < 1e-3


def test_it_adds_with_visible_thinking(model, coder):
    (reply,) = answer(model, coder, ["What is 347 + 586?"])
    thinking, _, rest = reply.partition("</think>")
    assert "7+6=13" in thinking
    assert rest.strip() == "933"


def test_it_answers_its_own_suggestions(model, coder):
    wanted = {
        "What is 347 + 586?": "933",
        "How many r's are in strawberry?": "3",
        "Which is bigger, 9.11 or 9.8?": "9.8",
        "Sort 42, 7, 93, 18.": "7, 18, 42, 93",
        "What day is 17 days after Monday?": "Thursday",
        "Convert 7 hours to minutes.": "420 minutes",
        "Tom has 48 apples and gives away 19. How many apples are left?": "29",
        "347加586等于多少？": "933",
    }
    assert set(SUGGESTIONS[NANO]) - set(wanted) == {"Who are you?"}
    replies = dict(zip(SUGGESTIONS[NANO], answer(model, coder, SUGGESTIONS[NANO]), strict=True))
    assert {q: final(replies[q]).strip() for q in wanted} == wanted
    assert "nano" in final(replies["Who are you?"])
    assert not any(EOS in reply for reply in replies.values())


def test_experts_are_balanced_and_mtp_guesses_well(model, coder):
    use = measure_use(model, coder, 3)
    assert len(use.max_over_mean) == CONFIG["num_hidden_layers"] - 1
    assert max(use.max_over_mean) <= 1.5
    first, second, third = use.mtp_acceptance
    assert first > 0.925  # 0.933, 0.953 and 0.950 of these; 0.944 of more, docs/measurements.md
    assert second > 0.94
    assert third > 0.94
