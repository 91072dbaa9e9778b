"""Calibration changes the values of a conversion, never its format, and brings it closer."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.layers import chunking
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.planning.recipes import NEVER, Recipe
from mlx_deepseek_convert.quality import calibrate as module
from mlx_deepseek_convert.quality.calibrate import calibrate, convert_calibrated
from mlx_deepseek_convert.quality.layer_inputs import PRIOR_ROWS, Inputs, observe
from mlx_deepseek_convert.quality.layerwise import LayerwiseModel
from mlx_deepseek_convert.quality.report import Wanted, sequences
from mlx_deepseek_convert.quality.score import compare
from mlx_deepseek_convert.quality.texts import ScoredBatch
from mlx_deepseek_convert.source.checkpoint import open_source
from mlx_deepseek_convert.source.formats import Setting
from mlx_deepseek_convert.write.run import execute

UNIFORM = Recipe("3 bits everywhere", "", NEVER, NEVER, Setting(3))


@pytest.fixture(scope="module")
def seen():
    return sequences(checkpoint_path(), Wanted(count=1), held_out=False)


def unscored(ids: mx.array) -> ScoredBatch:
    return ScoredBatch(ids, mx.zeros(len(ids), mx.int32))


def tensors(folder) -> dict[str, mx.array]:
    return mx.load(str(folder / "model.safetensors"))


def test_nano_comes_much_closer_in_the_same_format(tmp_path, seen):
    execute(make_plan(open_source(checkpoint_path()), UNIFORM), tmp_path / "out")
    measured = sequences(checkpoint_path(), Wanted(count=1))[::2]
    source = LayerwiseModel(checkpoint_path())
    config = (tmp_path / "out" / "config.json").read_bytes()
    header = read_header(tmp_path / "out" / "model.safetensors")
    before = tensors(tmp_path / "out")
    mx.eval(before)
    plain = compare(source, LayerwiseModel(tmp_path / "out"), measured)
    calibrate(checkpoint_path(), tmp_path / "out", seen[::2])
    fed_back = compare(source, LayerwiseModel(tmp_path / "out"), measured)
    assert fed_back.kl < 0.4 * plain.kl
    assert read_header(tmp_path / "out" / "model.safetensors") == header
    assert (tmp_path / "out" / "config.json").read_bytes() == config
    after = tensors(tmp_path / "out")
    changed = {name for name in before if not mx.array_equal(before[name], after[name])}
    affine = {name for name in before if name.removesuffix(".weight") + ".scales" in before}
    assert affine <= changed
    assert not any("norm" in name or "mlp.gate." in name for name in changed)


@pytest.mark.parametrize(
    "case", ["deepseek_moe_16b", "deepseek_v2", "deepseek_v3_fp8", "deepseek_v4_fp4"]
)
@pytest.mark.parametrize("recipe", ["3bit", "mxfp4"])
def test_other_architectures_and_formats(goldens_root, goldens, tmp_path, case, recipe):
    convert(goldens_root / case, tmp_path / "out", recipe)
    before = tensors(tmp_path / "out")
    mx.eval(before)
    calibrate(goldens_root / case, tmp_path / "out", [unscored(goldens(case)["input_ids"])])
    after = tensors(tmp_path / "out")
    same = all(mx.array_equal(before[name], after[name]) for name in before)
    assert same == (recipe == "mxfp4")


def test_copies_of_the_state_come_closer_too(goldens_root, goldens, tmp_path):
    """V4: layers see what quantized ones before them leave, entries and all."""
    ids = goldens("deepseek_v4_fp4")["input_ids"]
    seen = ScoredBatch(ids, mx.array([1]))
    source = LayerwiseModel(goldens_root / "deepseek_v4_fp4", unquantized=True)
    convert(goldens_root / "deepseek_v4_fp4", tmp_path / "out", "2bit")
    plain = compare(source, LayerwiseModel(tmp_path / "out"), [seen])
    calibrate(goldens_root / "deepseek_v4_fp4", tmp_path / "out", [seen])
    assert compare(source, LayerwiseModel(tmp_path / "out"), [seen]).kl < plain.kl


@pytest.mark.parametrize("case", ["deepseek_v3", "deepseek_v32"])
def test_up_projections_that_are_taken_in_parts(goldens_root, goldens, tmp_path, case, monkeypatch):
    """As of many heads at long prompts: layers then read `embed_q`'s arrays, not call it."""
    monkeypatch.setattr(chunking, "AT_A_TIME_CPU", 1)
    monkeypatch.setattr(chunking, "AT_A_TIME_GPU", 1)
    convert(goldens_root / case, tmp_path / "out", "3bit")
    before = tensors(tmp_path / "out")
    mx.eval(before)
    calibrate(goldens_root / case, tmp_path / "out", [unscored(goldens(case)["input_ids"])])
    after = tensors(tmp_path / "out")
    assert not all(mx.array_equal(before[name], after[name]) for name in before)


def test_what_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    planned = make_plan(open_source(checkpoint_path()), UNIFORM)
    monkeypatch.setattr(module, "calibrate", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert_calibrated(planned, tmp_path / "out", Wanted(count=1))
    assert list(tmp_path.iterdir()) == []


def test_another_model_is_refused(goldens_root, tmp_path):
    convert(goldens_root / "deepseek_v2", tmp_path / "out", "4bit")
    with pytest.raises(CheckpointError):
        calibrate(checkpoint_path(), tmp_path / "out", [unscored(mx.array([[1, 2, 3]]))])


def test_what_modules_are_given(goldens_root):
    stream = LayerwiseModel(goldens_root / "deepseek_v3")
    ids = mx.array([[5, 6, 7, 8], [9, 10, 11, 12]])
    states = stream.begin([unscored(ids)], stream.embed([unscored(ids)]))
    (state,) = states
    moe = stream.layers[-1]
    with stream.part(moe) as layer:
        expected = layer(state.stream, "causal")
        paths = ["self_attn.o_proj", "self_attn.embed_q", "mlp.switch_mlp.down_proj"]
        inputs = observe(states, layer, paths)
        assert mx.allclose(layer(state.stream, "causal"), expected)
        assert inputs.keys() == {"self_attn.o_proj", "mlp.switch_mlp.down_proj"}
        per_token = layer.mlp.gate.config.per_token
    assert inputs["self_attn.o_proj"].rows.shape[0] == ids.size
    routed = inputs["mlp.switch_mlp.down_proj"]
    assert routed.experts is not None
    assert len(routed.rows) == len(routed.experts) == ids.size * per_token


def test_rare_experts_lean_on_the_others():
    rows = mx.random.normal((200, 4), key=mx.random.key(0)) * mx.array([1.0, 2.0, 3.0, 4.0])
    inputs = Inputs(rows, np.array([0] * 199 + [1]))
    pooled = mx.diagonal((rows**2).mean(axis=0) * mx.eye(4))
    busy, rare, unused = (mx.diagonal(moments) for moments in inputs.moments(range(3)))
    assert mx.allclose(unused, pooled, rtol=1e-4)
    assert mx.allclose(rare, (rows[199] ** 2 + PRIOR_ROWS * pooled) / (PRIOR_ROWS + 1), rtol=1e-4)
    assert mx.allclose(busy, (rows[:199] ** 2).mean(axis=0), rtol=0.1)


def test_few_rows_show_no_correlations():
    rows = mx.random.normal((40, 1), key=mx.random.key(0)) * mx.ones((4,))  # all columns alike
    for count in (1, 4, 40):
        moments = Inputs(rows[:count]).moments()
        assert moments[0, 1].item() == pytest.approx(moments[0, 0].item() * count / (count + 4))
