"""DeepSeek-V4 and V4.1 against the reference, in float32: text, drafts, and every way to cache it.

`pytest -s tests/models/test_deepseek_v4.py` prints the relative errors max |a - b| / std(b).
"""

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek import catalog, models
from mlx_deepseek.cache.prompt_cache import reachable, trim
from mlx_deepseek.checkpoint.token_map import attach_token_map
from mlx_deepseek.engine.inspect import indexer_hooks
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.models.dspark import DSpark
from mlx_deepseek.models.sizes import cache_bytes_per_token
from mlx_deepseek_convert import weights
from mlx_deepseek_convert.quality.layerwise import LayerwiseModel

LIMIT = 1e-4
CASES = ["deepseek_v4_fp4", "deepseek_v4_vision", "deepseek_v41"]
SPLITS, REWINDS = 40, 12


def relative(a: mx.array, b: mx.array) -> float:
    """max |a - b| over the reference's standard deviation."""
    return float(mx.abs(a - b).max() / mx.sqrt(mx.var(b)))


@pytest.fixture(scope="module", params=CASES)
def case(request, goldens_root, golden_config, goldens):
    model = models.build(golden_config(request.param))
    folder = goldens_root / request.param
    model.load_weights(list(weights(folder, "float32")), strict=True)
    attach_token_map(model, folder)
    return request.param, model, goldens(request.param)


@pytest.fixture
def record(case):
    def note(what: str, error: float) -> None:
        print(f"\n{case[0]:<20}{what:<20}{error:.1e}", end="")
        assert error <= LIMIT, f"{case[0]} {what}: {error:.2e}"

    return note


def test_prefill(case, record):
    _, model, golden = case
    record("prefill", relative(model(golden["input_ids"]), golden["logits"]))


def test_each_decode_step(case, record):
    _, model, golden = case
    cache = make_prompt_cache(model)
    logits, worst = model(golden["input_ids"], cache=cache)[:, -1], 0.0
    for step in range(golden["gen_ids"].shape[1]):
        worst = max(worst, relative(logits, golden["gen_logits"][:, step]))
        assert int(logits.argmax()) == int(golden["gen_ids"][0, step])
        logits = model(golden["gen_ids"][:, step : step + 1], cache=cache)[:, -1]
    record("decode", worst)


def test_rows_of_a_batch_are_alone(case, record):
    _, model, golden = case
    ids = mx.concatenate([golden["input_ids"], golden["input_ids"][:, ::-1]])
    both = model(ids)
    record("batch", relative(both[:1], golden["logits"]))
    record("batch", relative(both[1:], model(ids[1:])))


def test_the_references_batch(case, record):
    _, model, golden = case
    if "batch2_input_ids" not in golden:
        pytest.skip("this case has none")
    want = golden["batch2_logits"]
    record("batch", relative(model(golden["batch2_input_ids"])[:, -want.shape[1] :], want))


def test_a_prompt_split_anywhere(case, record):
    _, model, golden = case
    ids, worst = golden["input_ids"][:, : 2 * SPLITS], 0.0
    whole = golden["logits"][:, : 2 * SPLITS]
    for cut in range(1, SPLITS + 1):
        cache = make_prompt_cache(model)
        model(ids[:, :cut], cache=cache)
        worst = max(worst, relative(model(ids[:, cut:], cache=cache), whole[:, cut:]))
    record("split", worst)


def test_rewinding(case, record):
    _, model, golden = case
    ids, worst = golden["input_ids"], 0.0
    length = ids.shape[1]
    cache = make_prompt_cache(model)
    model(ids, cache=cache)
    for back in range(1, REWINDS + 1):
        assert [layer.trim(back) for layer in cache] == [back] * len(cache)
        again = model(ids[:, length - back :], cache=cache)
        worst = max(worst, relative(again, golden["logits"][:, length - back :]))
    record("rewind", worst)


def test_rows_that_come_and_go(case, record):
    """Rows of different lengths, decoded together, get what they get alone."""
    _, model, golden = case
    ids, want = golden["input_ids"], golden["logits"]
    batch: list = []
    starts = [7, 30]
    for start in starts:
        cache = make_prompt_cache(model)
        model(ids[:, :start], cache=cache)
        joining = [type(layer).merge([layer]) for layer in cache]
        for old, new in zip(batch, joining, strict=True) if batch else ():
            old.extend(new)
        batch = batch or joining
    worst = 0.0
    for step in range(9):
        last = mx.concatenate([ids[:, start + step : start + step + 1] for start in starts])
        logits = model(last, cache=batch)
        for row, start in enumerate(starts):
            worst = max(worst, relative(logits[row], want[0, start + step : start + step + 1]))
    for layer in batch:
        layer.filter(mx.array([1]))
    alone = model(ids[:, starts[1] + 9 : starts[1] + 10], cache=batch)
    record("rows", max(worst, relative(alone, want[:, starts[1] + 9 : starts[1] + 10])))


def test_choices(case):
    """The very experts and entries, of every layer."""
    name, model, golden = case
    routers, attentions = {}, {}
    for i, layer in enumerate(model.layers):
        routers[i], layer.mlp.gate = layer.mlp.gate, Watched(layer.mlp.gate)
        if layer.self_attn.config.indexer is not None:
            attentions[i] = layer.self_attn.indexer
            layer.self_attn.indexer = Watched(layer.self_attn.indexer)
    try:
        model(golden["input_ids"])
        for i in routers:
            chosen = mx.sort(model.layers[i].mlp.gate.seen[0], axis=-1)[0]
            assert mx.array_equal(chosen, golden[f"experts.{i}"]), f"{name} layer {i}"
        for i in attentions:
            (places, allowed), _ = model.layers[i].self_attn.indexer.seen
            mask = mx.zeros(golden[f"csa_mask.{i}"].shape, mx.bool_)[None]
            mask = mx.put_along_axis(mask, places, allowed, axis=-1)[0]
            assert mx.array_equal(mask, golden[f"csa_mask.{i}"] > 0), f"{name} layer {i}"
    finally:
        for i, gate in routers.items():
            model.layers[i].mlp.gate = gate
        for i, indexer in attentions.items():
            model.layers[i].self_attn.indexer = indexer


class Watched:
    """A module that remembers what it last gave."""

    def __init__(self, module):
        self.module = module

    def __call__(self, *args):
        self.seen = self.module(*args)
        return self.seen

    def __getattr__(self, name):
        return getattr(self.module, name)


def test_multi_token_prediction(case, record):
    _, model, golden = case
    if "mtp_logits" in golden:
        record("mtp", relative(model.mtp_logits(golden["input_ids"])[:, ::3], golden["mtp_logits"]))
    else:
        with pytest.raises(ConfigError, match="drafts whole blocks"):
            model.mtp_logits(golden["input_ids"])


def test_dspark_drafts(case, record):
    """After the prompt, and after three more tokens."""
    _, model, golden = case
    if "dspark.logits" not in golden:
        pytest.skip("this case drafts one token further")
    drafter = DSpark(model)
    caches, drafts = make_prompt_cache(model), drafter.make_cache()

    def drafted(ids: mx.array, following: mx.array, name: str) -> mx.array:
        _, features = model.read(ids, caches)
        drafter.remember(features, drafts)
        block = drafter.draft(following, drafts, lambda row, _: row.argmax(-1), 9)
        record(f"{name} logits", relative(block.logits, golden[f"{name}.logits"]))
        # Raw scores of states that no norm bounds: the reference's own limit.
        assert relative(block.confidence, golden[f"{name}.confidence"]) < 2 * LIMIT
        chosen = mx.stack(block.drafts, axis=1)
        assert chosen.tolist() == golden[f"{name}.draft_ids"][:, 1:].tolist()
        return features

    taps = drafted(golden["input_ids"], golden["gen_ids"][:, 0], "dspark")
    record("dspark taps", relative(taps[0, -8:], golden["dspark.main_hidden_tail"]))
    drafted(golden["gen_ids"][:, :3], golden["gen_ids"][:, 3], "dspark3")


def test_cached_numbers_are_the_papers():
    """3,440 numbers per token over all of V4-Flash's layers, besides windows."""
    entry = catalog.find("deepseek-ai/DeepSeek-V4-Flash")
    assert entry is not None
    model = models.build(entry.config)
    assert cache_bytes_per_token(model, entry.config, item_bytes=1) == 3440


def test_unknown_keys_and_odd_ratios_are_refused(golden_config):
    config = golden_config("deepseek_v4_fp4")
    with pytest.raises(ConfigError, match="new_trick"):
        models.build({**config, "new_trick": 1})
    with pytest.raises(ConfigError, match="compress_ratios"):
        models.build({**config, "compress_ratios": [0]})
    with pytest.raises(ConfigError, match="attention_bias"):
        models.build({**config, "attention_bias": True})


def test_transformers_spelling_is_the_same_model(golden_config):
    config = golden_config("deepseek_v4_fp4")
    modern = {k: v for k, v in config.items() if k not in ("compress_ratios", "num_hash_layers")}
    kinds = {0: "sliding", 4: "compressed_sparse", 128: "heavily_compressed"}
    count = config["num_hidden_layers"]
    modern["layer_types"] = [f"{kinds[r]}_attention" for r in config["compress_ratios"][:count]]
    modern["mlp_layer_types"] = ["hash_moe"] + ["moe"] * (count - 1)
    scaling = modern.pop("rope_scaling")
    scaling = {"rope_type": scaling["type"], **scaling, "rope_theta": modern["compress_rope_theta"]}
    modern["rope_parameters"] = {
        "main": {"rope_type": "default", "rope_theta": modern["rope_theta"]},
        "compress": scaling,
    }
    assert models.build(modern).args.layers[1].moe == models.build(config).args.layers[1].moe
    old, new = (models.build(c).model.layers[1].self_attn.rope for c in (config, modern))
    assert mx.array_equal(old._wavelengths, new._wavelengths)


def test_entries_are_not_shown_as_chosen_tokens(case):
    with indexer_hooks(case[1]) as hooks:
        assert not hooks


def test_tables_are_not_read_to_run_layer_by_layer(goldens_root):
    with pytest.raises(ConfigError, match="Engram tables is not run layer by layer"):
        LayerwiseModel(goldens_root / "deepseek_v41")


def test_going_back_to_where_a_turn_ended(case, record):
    """A mark keeps what a cache of windows and open groups has forgotten."""
    _, model, golden = case
    ids, worst = golden["input_ids"], 0.0
    cache = make_prompt_cache(model)
    turns = [slice(0, 17), slice(17, 40), slice(40, ids.shape[1])]
    for turn in turns:
        model(ids[:, turn], cache=cache)
    more = mx.tile(ids, (1, 2))
    for start in range(0, more.shape[1], 16):
        model(more[:, start : start + 16], cache=cache)
    for turn in reversed(turns):
        for back in (0, 3):
            place = turn.stop - back
            assert reachable(cache, place) == place
            trim(cache, place)
            again = model(ids[:, place : place + 12], cache=cache) if back else None
            if again is not None:
                want = golden["logits"][:, place : place + 12]
                worst = max(worst, relative(again, want))
    record("back to a turn", worst)
