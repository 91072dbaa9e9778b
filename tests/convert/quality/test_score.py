"""What `quality` prints: zero for the source itself, known numbers for known distributions."""

import argparse
import json
import math

import mlx.core as mx
import pytest

from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.errors import CheckpointError, DeepSeekError
from mlx_deepseek_convert import RECIPES, convert
from mlx_deepseek_convert.quality import command
from mlx_deepseek_convert.quality.layerwise import LayerwiseModel
from mlx_deepseek_convert.quality.report import Wanted, bits_per_weight, measure, sequences
from mlx_deepseek_convert.quality.score import summarise, tally
from mlx_deepseek_convert.quality.texts import of_text
from mlx_deepseek_convert.quality.weight_errors import unusual_losses


def test_known_distributions():
    truth = mx.log(mx.array([[0.5, 0.5], [0.9, 0.1]]))
    guess = mx.log(mx.array([[0.25, 0.75], [0.9, 0.1]])) + 7.0  # a constant changes nothing
    quality = summarise([tally(truth, guess, mx.array([0, 1]))])
    assert quality.tokens == 2
    assert quality.kl == pytest.approx(0.5 * (0.5 * math.log(2) + 0.5 * math.log(2 / 3)), rel=1e-5)
    assert quality.top1 == 0.5
    assert quality.perplexity == pytest.approx(math.exp(-(math.log(0.25) + math.log(0.1)) / 2))
    assert quality.source_perplexity == pytest.approx((0.5 * 0.1) ** -0.5)


def test_a_class_that_lost_more_than_usual_is_named(tmp_path, capsys):
    """As nvfp4 without a scale per expert did with small weights."""
    convert(checkpoint_path(), tmp_path / "out", "4bit")
    source, converted = (
        LayerwiseModel(checkpoint_path(), unquantized=True),
        LayerwiseModel(tmp_path / "out"),
    )
    assert unusual_losses(source, converted) == []
    path = tmp_path / "out" / "model.safetensors"
    tensors = mx.load(str(path))
    name = "model.layers.2.mlp.switch_mlp.down_proj.scales"
    tensors[name] = tensors[name] * 0
    mx.save_safetensors(str(path), tensors, {"format": "mlx"})
    (found,) = unusual_losses(source, LayerwiseModel(tmp_path / "out"))
    assert found.startswith("routed experts, layer 2: ")
    assert found.endswith("4-bit affine usually loses 9.1%.")


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_recipe_loses_more_than_it_usually_does(goldens_root, tmp_path, recipe):
    case = goldens_root / "deepseek_moe_16b"
    convert(case, tmp_path / "out", recipe)
    assert (
        unusual_losses(LayerwiseModel(case, unquantized=True), LayerwiseModel(tmp_path / "out"))
        == []
    )


def test_other_vocabularies_are_refused():
    with pytest.raises(CheckpointError, match="3 and 4 tokens"):
        tally(mx.zeros((2, 3)), mx.zeros((2, 4)), mx.zeros((2,), mx.int32))


@pytest.fixture(scope="module")
def nano_2bit(tmp_path_factory):
    return convert("nano", tmp_path_factory.mktemp("nano") / "2bit", "2bit").target


def test_fewer_bits_are_further_away(nano_2bit, tmp_path):
    convert("nano", tmp_path / "8bit", "8bit")
    wanted = Wanted(count=1)
    near = measure(checkpoint_path(), tmp_path / "8bit", wanted)
    far = measure(checkpoint_path(), nano_2bit, wanted)
    assert 0 <= near.quality.kl < 1e-4 < far.quality.kl
    assert 8.5 < near.bits_per_weight < 9
    assert far.bits_per_weight < near.bits_per_weight


def test_the_size_is_that_of_the_main_model(nano_2bit):
    stored = (nano_2bit / "model.safetensors").stat().st_size
    assert 0.97 * stored < bits_per_weight(nano_2bit) / 8 * 1_307_288 < stored


def test_held_out_exercises_are_not_those_for_calibration():
    held, seen = (sequences(checkpoint_path(), Wanted(count=3), held_out=h) for h in (True, False))
    rows = [{tuple(r) for batch in some for r in batch.ids.tolist()} for some in (held, seen)]
    assert len(rows[0]) >= 30
    assert not rows[0] & rows[1]


class Letters:
    bos_token_id = 1

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return [ord(letter) for letter in text]


def test_a_text_is_cut_into_sequences():
    batches = of_text("abcdefghij", Letters(), length=5, limit=9)
    rows = [row for batch in batches for row in batch.ids.tolist()]
    assert rows == [[1, *map(ord, "abcd")], [1, *map(ord, "efgh")]]
    with pytest.raises(DeepSeekError, match="too short"):
        of_text("a", Letters())


def test_the_command_prints_json(nano_2bit, tmp_path, capsys):
    text = tmp_path / "text"
    text.write_text("What is 12 + 13? 25.\n" * 4)
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    words = ["quality", str(nano_2bit), "--source", "nano", "--text", str(text), "--count", "1"]
    args = parser.parse_args([*words, "--json", "--save"])
    assert args.func(args) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["quality"]["kl"] > 0
    assert figures["quality"]["tokens"] > 20
    saved = json.loads((nano_2bit / "quality.json").read_text())
    assert float(saved["KL divergence, nats per token"]) > 0
