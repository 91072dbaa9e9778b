"""DeepSeek-V4's FP8 and FP4 as MLX's, code by code; what was converted computes the same."""

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.engram_tables import RowsOnDisk
from mlx_deepseek.checkpoint.load_weights import load_model
from mlx_deepseek.checkpoint.room import loaded_bytes
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert, weights
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.source.checkpoint import open_source
from tests.convert.exact_codes import checked_codes

CASES = ["deepseek_v4_fp4", "deepseek_v41"]
LIMIT = 1e-4


def relative(a, b):
    return float(mx.abs(a - b).max() / mx.sqrt(mx.var(b)))


@pytest.fixture(scope="module", params=CASES)
def converted(request, goldens_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlx") / request.param
    report = convert(goldens_root / request.param, folder, "original")
    return request.param, goldens_root / request.param, folder, report


def test_no_code_changes(converted):
    """Every byte of FP8 and FP4, and every exponent for each 32 values that it scales."""
    _, source, folder, report = converted
    checked = checked_codes(make_plan(open_source(source), "original"), folder)
    assert checked == report.exact_parameters


def test_the_converted_model_computes_the_same(converted, goldens):
    name, _, folder, _ = converted
    golden = goldens(name)
    model, _ = load_model(folder, dtype=mx.float32)
    assert relative(model(golden["input_ids"]), golden["logits"]) <= LIMIT
    cache = model.make_cache()
    logits = model(golden["input_ids"], cache=cache)[:, -1]
    for step in range(golden["gen_ids"].shape[1]):
        assert relative(logits, golden["gen_logits"][:, step]) <= LIMIT
        logits = model(golden["gen_ids"][:, step : step + 1], cache=cache)[:, -1]


@pytest.mark.parametrize("recipe", ["original", "bf16"])
def test_engram_tables_stay_on_disk(goldens_root, tmp_path, recipe):
    """Rows are those of the release, and take no memory."""
    convert(goldens_root / "deepseek_v41", tmp_path / "mlx", recipe)
    model, _ = load_model(tmp_path / "mlx", dtype=mx.float32)
    released = dict(weights(goldens_root / "deepseek_v41", "float32"))
    tables = 0
    for number in (1, 4):
        engram = model.layers[number].engram
        assert isinstance(engram.embed, RowsOnDisk)
        assert not any(name.startswith("embed") for name in engram.parameters())
        table = released[f"model.layers.{number}.engram.embed.weight"]
        ids = mx.array([[0, len(table) - 1], [7, 7]])
        assert mx.array_equal(engram.embed(ids).astype(mx.float32), table[ids])
        tables += table.size
    stored = sum(path.stat().st_size for path in (tmp_path / "mlx").glob("*.safetensors"))
    assert loaded_bytes(tmp_path / "mlx") < 4 * stored - tables


@pytest.mark.parametrize("recipe", ["4bit", "2bit", "bf16"])
def test_other_recipes_load(goldens_root, tmp_path, recipe, goldens):
    """Fewer bits than released, or none: the model still runs; bfloat16 is nearly the original."""
    convert(goldens_root / "deepseek_v4_fp4", tmp_path / "mlx", recipe)
    model, _ = load_model(tmp_path / "mlx", dtype=mx.float32)
    logits = model(goldens("deepseek_v4_fp4")["input_ids"])
    assert bool(mx.isfinite(logits).all())
    if recipe == "bf16":
        assert relative(logits, goldens("deepseek_v4_fp4")["logits"]) <= LIMIT


def test_a_model_with_engram_needs_its_tokenizer(goldens_root, tmp_path):
    convert(goldens_root / "deepseek_v41", tmp_path / "mlx", "original")
    (tmp_path / "mlx" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="Engram"):
        load_model(tmp_path / "mlx", dtype=mx.float32)
