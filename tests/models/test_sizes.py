"""Sizes against published ones; nothing here takes the memory it talks about."""

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlx_deepseek import catalog, models
from mlx_deepseek.checkpoint import room
from mlx_deepseek.errors import MemoryLimitError
from mlx_deepseek.models import sizes as memory_sizes
from mlx_deepseek.runtime import memory
from mlx_deepseek_convert.planning.recipes import RECIPES


def released(name: str):
    entry = catalog.find(name)
    assert entry is not None
    config = dict(entry.config)
    return entry, config, models.build(config)


@pytest.fixture(scope="module")
def v3():
    return released("DeepSeek-V3")


@pytest.fixture(scope="module")
def v2_lite():
    return released("DeepSeek-V2-Lite")


def test_v3_has_the_published_parameters(v3):
    _, _, model = v3
    sizes = memory_sizes.count(model)
    assert sizes.total == pytest.approx(671e9, rel=0.001)
    assert sizes.active == pytest.approx(37e9, rel=0.02)
    assert sizes.mtp > 11e9  # an MTP layer with its copies of embedding and head


def test_v2_lite_has_the_published_parameters(v2_lite):
    sizes = memory_sizes.count(v2_lite[2])
    assert sizes.total == pytest.approx(15.7e9, rel=0.005)
    assert 2.4e9 < sizes.active < 2.7e9
    assert sizes.mtp == 0


def test_v3_caches_576_numbers_per_layer(v3):
    _, config, model = v3
    assert memory_sizes.cache_bytes_per_token(model, config) == 70_272 == 576 * 61 * 2


def test_v2_lite_caches_576_numbers_per_layer(v2_lite):
    _, config, model = v2_lite
    assert memory_sizes.cache_bytes_per_token(model, config) == 576 * 27 * 2
    assert memory_sizes.cache_bytes_per_token(model, config, item_bytes=4) == 576 * 27 * 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DeepSeek-R1-Distill-Llama-8B", 2 * 8 * 128 * 32 * 2),
        ("DeepSeek-R1-Distill-Qwen-1.5B", 2 * 2 * 128 * 28 * 2),
        ("DeepSeek-R1-0528-Qwen3-8B", 2 * 8 * 128 * 36 * 2),
        ("deepseek-moe-16b-chat", 2 * 16 * 128 * 28 * 2),
    ],
)
def test_cache_of_shared_key_value_heads(name, expected):
    entry, config, model = released(name)
    assert memory_sizes.cache_bytes_per_token(model, config) == expected
    assert memory_sizes.count(model).total == pytest.approx(entry.params_total, rel=0.01)


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
def test_quantizing_changes_bytes_and_not_parameters(golden_config, bits):
    config = golden_config("deepseek_v2_lite")
    config |= {"intermediate_size": 128, "moe_intermediate_size": 32, "v_head_dim": 16}
    model = models.build(config)
    before = memory_sizes.count(model)
    assert before.bits_per_weight == 32  # built in float32
    nn.quantize(model, group_size=32, bits=bits)
    after = memory_sizes.count(model)
    assert (after.total, after.active) == (before.total, before.active)
    assert bits < after.bits_per_weight < bits + 4  # scales, biases, and norms kept whole


def test_read_bytes_leave_out_idle_experts_and_the_embedding(golden_config):
    config = golden_config("deepseek_v3")
    model = models.build(config)
    sizes = memory_sizes.count(model)
    idle = 1 - config["num_experts_per_tok"] / config["n_routed_experts"]
    expert = 3 * config["hidden_size"] * config["moe_intermediate_size"]
    layers = config["num_hidden_layers"] - config["first_k_dense_replace"]
    routed = expert * config["n_routed_experts"] * layers
    embedding = config["vocab_size"] * config["hidden_size"]
    assert sizes.total - sizes.active == idle * routed + embedding
    assert sizes.read_bytes == 4 * sizes.active


def test_fit_is_the_longest_context():
    fit = memory.fits(700, 10, machine_bytes=1000, context=100)
    assert fit.usable_bytes == 875
    assert fit.context == 17
    assert fit.weights_bytes + fit.cache_bytes <= fit.usable_bytes < 700 + 18 * 10
    assert memory.fits(700, 10, machine_bytes=1000, context=5).context == 5
    assert not memory.fits(900, 10, machine_bytes=1000, context=5).fits


@pytest.mark.parametrize("name", ["DeepSeek-V2-Lite", "DeepSeek-V2", "DeepSeek-V3"])
def test_estimate_follows_the_recipe(name):
    recipe, bits = RECIPES["4bit"], 0.0
    model = released(name)[2]
    for path, module in model.named_modules():
        numbers, _ = memory_sizes.parameters(module)
        if numbers and not path.startswith("mtp"):
            setting = recipe.setting(path, module["weight"].shape, routed=True)
            overhead = setting.overhead_bits / setting.group_size if setting else 0
            bits += numbers * (setting.bits + overhead if setting else 16)
    estimate = memory.estimate_bytes(memory_sizes.count(model).total)
    assert estimate == pytest.approx(bits / 8, rel=0.055)


def test_weights_that_do_not_fit_are_refused(goldens_root, monkeypatch):
    folder = goldens_root / "deepseek_v2_lite"
    stored = sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
    needed = room.loaded_bytes(folder)
    assert 0.9 * stored < needed < 2.1 * stored
    room.require_room(folder)
    monkeypatch.setattr(mx, "get_active_memory", lambda: 0)
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: needed)
    with pytest.raises(MemoryLimitError, match=r"weights take .* Expected at most"):
        room.require_room(folder)


@pytest.mark.parametrize("bytes_each", [2, 4])
def test_floats_grow_to_what_is_computed_in(tmp_path, monkeypatch, bytes_each):
    tensors = {"a": mx.zeros((10, 10), mx.bfloat16), "b": mx.zeros((10, 10), mx.uint32)}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), tensors, {"format": "mlx"})
    monkeypatch.setattr(room, "compute_item_bytes", lambda: bytes_each)
    assert room.loaded_bytes(tmp_path) == 100 * bytes_each + 400


def test_machine_memory_is_the_accelerators(monkeypatch):
    monkeypatch.setattr(mx, "device_info", lambda: {"memory_size": 8, "device_name": "M"})
    assert memory.machine_memory_bytes() == 8
    metal = {"memory_size": 8, "max_recommended_working_set_size": 6}
    monkeypatch.setattr(mx, "device_info", lambda: metal)
    assert memory.machine_memory_bytes() == 6


def test_machine_memory_respects_a_container(monkeypatch):
    monkeypatch.setattr(mx, "device_info", lambda: {"device_name": "CPU"})
    monkeypatch.setattr(memory, "control_group_limit", lambda: None)
    assert memory.machine_memory_bytes() > 1 << 28
    monkeypatch.setattr(memory, "control_group_limit", lambda: 1 << 28)
    assert memory.machine_memory_bytes() == 1 << 28


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "5000\n", "a/b/memory.max": "max\n"}, 5000),
        ("0::/\n", {"memory.max": "7000\n"}, 7000),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9000\n"}, 9000),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("0::/a\n", {}, None),
    ],
)
def test_control_group_limit(tmp_path, membership, files, limit):
    root = tmp_path / "cgroup"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "self").write_text(membership)
    assert memory.control_group_limit(root, tmp_path / "self") == limit
    assert memory.control_group_limit(root / "none", tmp_path / "none") is None


def test_the_catalog_keeps_what_is_counted():
    """One checkpoint of each family; the app shows all at once and cannot count them all first."""
    families = {entry.family: entry for entry in catalog.entries() if models.known(entry.config)}
    for entry in families.values():
        counted = memory_sizes.cache_bytes_per_token(models.build(entry.config), entry.config)
        assert entry.cache_bytes_per_token == counted, entry.repo
