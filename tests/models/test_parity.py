"""Every architecture against the official code's outputs, in float32, as one table.

`pytest -s tests/models/test_parity.py` prints case x (prefill, decode, batch, left-padded batch,
MTP) with the relative error max |a - b| / std(b), which must stay below 1e-4 everywhere.
"""

import itertools
from collections.abc import Iterator

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models.cache import BatchKVCache, make_prompt_cache

from mlx_deepseek import models
from mlx_deepseek.layers.indexer import sparse_mask
from mlx_deepseek_convert import weights

LIMIT = 1e-4
CASES = [
    "deepseek_llm_7b",
    "deepseek_llm_67b",
    "deepseek_coder_6p7b",
    "deepseek_moe_16b",
    "deepseek_v2_lite",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v3_fp8",
    "deepseek_v32",
    "deepseek_v32_fp8",
    "r1_distill_qwen",
    "r1_distill_llama",
    "r1_0528_qwen3",
]
COLUMNS = ("prefill", "decode", "batch", "padded", "mtp")


def relative(a: mx.array, b: mx.array) -> float:
    """max |a - b| over the reference's standard deviation."""
    return float(mx.abs(a - b).max() / mx.sqrt(mx.var(b)))


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, dict[str, float]]]:
    rows: dict[str, dict[str, float]] = {}
    yield rows
    print("\n" + f"{'case':<20}" + "".join(f"{name:>10}" for name in COLUMNS))
    for case, row in rows.items():
        cells = "".join(f"{row[n]:>10.1e}" if n in row else f"{'-':>10}" for n in COLUMNS)
        print(f"{case:<20}{cells}")


@pytest.fixture(scope="module", params=CASES)
def case(request, goldens_root, golden_config, goldens):
    config = golden_config(request.param)
    model = models.build(config)
    model.load_weights(list(weights(goldens_root / request.param, "float32")), strict=True)
    return request.param, model, goldens(request.param)


@pytest.fixture
def as_transformers(case, golden_config):
    """The model as transformers reads its config: without R1-0528-Qwen3's `attn_factor`."""
    name, model, golden = case
    if "alt_attn_factor.logits" not in golden:
        return model
    config = golden_config(name)
    del config["rope_scaling"]["attn_factor"]
    twin = models.build(config)
    twin.update(model.parameters())
    return twin


@pytest.fixture
def record(table, case):
    """Note a figure for the table, and hold it against the limit."""

    def note(column: str, error: float) -> None:
        row = table.setdefault(case[0], {})
        row[column] = max(error, row.get(column, 0.0))
        assert error <= LIMIT, f"{case[0]} {column}: {error:.2e}"

    return note


def variant(golden: dict[str, mx.array], key: str) -> mx.array:
    """A golden output; R1-0528-Qwen3's own reading of `attn_factor` where there are two."""
    return golden.get(f"alt_attn_factor.{key}", golden[key])


def test_prefill(case, record):
    _, model, golden = case
    record("prefill", relative(model(golden["input_ids"]), variant(golden, "logits")))


def test_each_decode_step(case, record):
    _, model, golden = case
    cache = make_prompt_cache(model)
    ids, want = variant(golden, "gen_ids"), variant(golden, "gen_logits")
    logits = model(golden["input_ids"], cache=cache)[:, -1]
    for step in range(ids.shape[1]):
        record("decode", relative(logits, want[:, step]))
        assert int(logits.argmax()) == int(ids[0, step])
        logits = model(ids[:, step : step + 1], cache=cache)[:, -1]


def test_prefill_in_chunks(case, record):
    _, model, golden = case
    cache, ids = make_prompt_cache(model), golden["input_ids"]
    edges = [0, 1, 4, 5, 17, ids.shape[1]]
    parts = [model(ids[:, a:b], cache=cache) for a, b in itertools.pairwise(edges)]
    record("prefill", relative(mx.concatenate(parts, axis=1), variant(golden, "logits")))


def test_batch(case, as_transformers, record):
    golden = case[2]
    logits = as_transformers(golden["batch2_input_ids"])
    record("batch", relative(logits, golden["batch2_logits"]))


def left_padded(model: nn.Module, rows: list[mx.array]) -> list[mx.array]:
    """Logits of each row when shorter ones are padded on the left into one batch."""
    width = max(len(row) for row in rows)
    pads = [width - len(row) for row in rows]
    ids = mx.stack([mx.pad(row, (pad, 0)) for row, pad in zip(rows, pads, strict=True)])
    cache = [BatchKVCache(pads) for _ in model.layers]
    logits = model(ids, cache=cache)
    return [logits[i, pad:] for i, pad in enumerate(pads)]


def test_left_padded_batch(case, record):
    _, model, golden = case
    ids, want = golden["input_ids"][0], variant(golden, "logits")[0]
    short = ids[: len(ids) // 2]
    for got, reference in zip(
        left_padded(model, [short, ids]), (want[: len(short)], want), strict=True
    ):
        record("padded", relative(got, reference))


def test_left_padded_batch_of_the_reference(case, as_transformers, record):
    golden = case[2]
    if "padded.input_ids" not in golden:
        pytest.skip("the reference has no padded batch for this case")
    mask = golden["padded.attention_mask"]
    first = int(mask.shape[1] - mask[0].sum())
    rows = [golden["padded.input_ids"][0, first:], golden["padded.input_ids"][1]]
    short, full = left_padded(as_transformers, rows)
    record("padded", relative(short, golden["padded.logits_valid_row0"]))
    record("padded", relative(full, golden["padded.logits_row1"]))


def test_decoding_a_batch_row_equals_decoding_it_alone(case, record):
    _, model, golden = case
    ids = golden["input_ids"][0]
    rows = [ids[:5], ids[:12]]
    cache = [BatchKVCache([7, 0]) for _ in model.layers]
    model(mx.stack([mx.pad(rows[0], (7, 0)), rows[1]]), cache=cache)
    for step in range(3):
        together = model(mx.stack([ids[5 + step : 6 + step], ids[12 + step : 13 + step]]), cache)
        for i, row in enumerate(rows):
            alone = model(ids[None, : len(row) + step + 1])[:, -1]
            record("padded", relative(together[i, -1], alone[0]))


def test_multi_token_prediction(case, record):
    _, model, golden = case
    if "mtp_logits" not in golden:
        pytest.skip("this architecture has no MTP layer")
    record("mtp", relative(model.mtp_logits(golden["input_ids"]), golden["mtp_logits"]))


def test_the_indexer_chooses_the_same_tokens(case):
    _, model, golden = case
    if "dsa_mask.0" not in golden:
        pytest.skip("this architecture attends to everything")
    x = model.model.embed_tokens(golden["input_ids"])
    for i, layer in enumerate(model.layers):
        attention, normed = layer.self_attn, layer.input_layernorm(x)
        keys, latent = attention.index_keys(normed, 0), attention.down(normed)[0]
        chosen = attention.indexer(normed, latent, keys, "causal", 0)
        mask = sparse_mask(chosen, x.shape[1])[0, 0]
        assert mx.array_equal(mask, golden[f"dsa_mask.{i}"].astype(mx.bool_)), i
        x = layer(x, "causal")


def test_final_hidden_state(case, as_transformers):
    name, _, golden = case
    last = max((int(k.split(".")[1]) for k in golden if k.startswith("hidden.")), default=None)
    if last is None:
        pytest.skip("the reference recorded no hidden states for this case")
    hidden = as_transformers.model(golden["input_ids"])[0]
    assert relative(hidden, golden[f"hidden.{last}"]) <= LIMIT, name
