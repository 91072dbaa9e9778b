"""Models that see: their names, conversion, and the way back."""

import json

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.load_weights import load_model, load_source
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek_convert import convert, export, plan
from mlx_deepseek_convert.mapping.ops import ChannelsFirst, ChannelsLast
from tests.convert.released import released_tensors
from tests.convert.test_release import raw

CASES = ["deepseek_ocr", "deepseek_vl_7b"]
# Too narrow for groups of quantized weights.
NARROW = ["deepseek_vl2_tiny", "deepseek_vl2", "deepseek_ocr2"]
# What the models have no use for, and conversions have not.
UNUSED = (
    "attn_pool.",
    "codebook_used",
    "embeddings.patch_embedding.",
    "high_layer_norm.",
    "low_layer_norm.",
)
DRAWING = ["janus", "janus_pro", "janusflow"]


@pytest.fixture(params=[*CASES, *NARROW, *DRAWING])
def source(request, goldens_root):
    return goldens_root / request.param


def test_names_by_the_modeling_files_are_those_of_the_release(source, golden_config):
    stored = {}
    for path in source.glob("model*.safetensors"):
        for name, info in read_header(path)[0].items():
            stored[name] = info.dtype, tuple(info.shape)
    released = {name: (d, shape) for name, d, shape in released_tensors(golden_config(source.name))}
    for name in released:
        if name.endswith("codebook_used"):  # 65,536 zeros, of which the case keeps one
            released[name] = (released[name][0], (1,))
    assert released == stored


@pytest.mark.parametrize("recipe", ["8bit", "4bit", "2bit", "mxfp4"])
@pytest.mark.parametrize("case", CASES)
def test_encoders_and_projectors_stay_as_they_are(goldens_root, case, recipe):
    planned = plan(goldens_root / case, recipe)
    settings = {output.name: output.setting for output in planned.outputs}
    seeing = [name for name in settings if not name.startswith("language.")]
    assert len(seeing) > 70
    assert not any(settings[name] for name in seeing)
    assert any(settings.values())


def test_a_conversion_computes_what_the_release_does(source, tmp_path):
    convert(source, tmp_path / "mlx", "bf16")
    ours, config = load_model(tmp_path / "mlx", dtype=mx.float32)
    theirs, _ = load_source(source, mx.float32)
    side = ours.reader.plan([(300, 200)])[0].view_px
    px = 192 if source.name == "deepseek_ocr" else side
    pixels = mx.random.uniform(shape=(1, px, px, 3), key=mx.random.key(0))
    assert mx.array_equal(ours.encode(pixels), theirs.encode(pixels))
    assert config["model_type"] == json.loads((source / "config.json").read_text())["model_type"]


def test_there_and_back_again(source, tmp_path):
    convert(source, tmp_path / "mlx", "bf16")
    export(tmp_path / "mlx", tmp_path / "back")
    original = {n: t for n, t in raw(source).items() if not any(part in n for part in UNUSED)}
    assert raw(tmp_path / "back") == original


def test_bf16_to_fewer_bits_is_what_the_release_gives(source, tmp_path):
    convert(source, tmp_path / "bf16", "bf16")
    convert(tmp_path / "bf16", tmp_path / "small", "4bit")
    convert(source, tmp_path / "direct", "4bit")
    for path in (tmp_path / "direct").glob("*.safetensors"):
        assert (tmp_path / "small" / path.name).read_bytes() == path.read_bytes()


def test_channels_last_and_first():
    weight = mx.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    (last,) = ChannelsLast().apply([weight])
    assert [last.shape] == list(ChannelsLast().shapes([weight.shape]))
    assert int(last[1, 2, 3, 0]) == int(weight[1, 0, 2, 3])
    (first,) = ChannelsFirst().apply([last])
    assert [first.shape] == list(ChannelsFirst().shapes([last.shape]))
    assert mx.array_equal(first, weight)
    for op in (ChannelsLast(), ChannelsFirst()):
        assert op.shapes([(7,)]) == ((7,),)
        assert mx.array_equal(op.apply([mx.arange(7)])[0], mx.arange(7))
