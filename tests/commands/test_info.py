"""What `info` says of a model that is here, and of one that is not."""

import argparse
import json

import mlx.core as mx
import pytest
from huggingface_hub import constants

from mlx_deepseek.checkpoint import hub
from mlx_deepseek.commands import info
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.runtime import memory


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty hub cache, and failure instead of any look at the hub."""

    def fail(*args, **options):
        raise AssertionError("the catalog knows this model")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HfApi", fail)
    monkeypatch.setattr(hub, "hf_hub_download", fail)


def call(capsys, *arguments: str) -> str:
    parser = argparse.ArgumentParser()
    info.register(parser.add_subparsers())
    args = parser.parse_args(["info", *arguments])
    assert args.func(args) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["DeepSeek-V3", "deepseek-ai/DeepSeek-V3"])
def test_a_released_model_needs_no_download(no_network, capsys, name):
    facts = json.loads(call(capsys, name, "--json"))
    assert facts["parameters"] == pytest.approx(671e9, rel=0.001)
    assert facts["cache_bytes_per_token"] == 70_272
    assert facts["stored_bytes"] is None
    loaded = facts["parameters"] + facts["mtp_parameters"]
    assert facts["memory_bytes"] == memory.estimate_bytes(loaded)


def test_the_table_says_what_does_not_fit(no_network, capsys, monkeypatch):
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: 8 << 30)
    text = call(capsys, "DeepSeek-V3")
    assert "671.0B" in text
    assert "70,272 bytes" in text
    assert "the weights do not fit" in text


def test_longest_context_is_the_rest_of_the_memory(no_network, monkeypatch):
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: 12_000_000_000)
    facts = info.describe("DeepSeek-V2-Lite")
    rest = 12_000_000_000 * 7 / 8 - facts["memory_bytes"]
    item_bytes = 4 if mx.default_device().type == mx.DeviceType.cpu else 2
    assert facts["longest_context"] == int(rest / (576 * 27 * item_bytes))
    assert 0 < facts["longest_context"] < facts["context_length"]


def test_a_hugging_face_folder_is_measured_from_its_headers(goldens_root):
    facts = info.describe(str(goldens_root / "deepseek_v3"))
    assert facts["mtp_parameters"] > 0
    parameters = facts["parameters"] + facts["mtp_parameters"]
    float32_biases = 3 * 16  # of the routers of two layers and MTP; the rest has 2 bytes
    assert facts["stored_bytes"] == 2 * (parameters + float32_biases)
    assert facts["bits_per_weight"] == pytest.approx(16, rel=0.001)
    assert facts["memory_bytes"] < facts["stored_bytes"]
    assert facts["memory_basis"] == "after conversion, recipe 4bit"


def test_an_mlx_folder_is_taken_as_stored(goldens_root, tmp_path):
    from mlx_deepseek_convert import convert

    report = convert(goldens_root / "deepseek_v3", tmp_path / "mlx", "8bit")
    facts = info.describe(str(tmp_path / "mlx"))
    assert facts["memory_basis"] == "without conversion"
    assert facts["stored_bytes"] == report.bytes_out
    assert facts["bits_per_weight"] == pytest.approx(report.bits_per_weight)
    (tmp_path / "mlx" / "mtp.safetensors").unlink()
    without = info.describe(str(tmp_path / "mlx"))
    assert without["mtp_parameters"] == 0
    assert without["stored_bytes"] < facts["stored_bytes"]


def test_an_unknown_name_and_an_unknown_architecture(no_network, tmp_path):
    with pytest.raises(DeepSeekError, match="no such folder or model"):
        info.describe("no-such-model")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(DeepSeekError, match="gpt2"):
        info.describe(str(tmp_path))


@pytest.mark.parametrize(
    ("nbytes", "text"), [(1.5e12, "1,500.0 GB"), (2e9, "2.0 GB"), (4.2e6, "4.2 MB")]
)
def test_size(nbytes, text):
    assert info.size(nbytes) == text


MAC = ("--memory", "64GB", "--disk", "6GB/s", "--bandwidth", "400GB/s")


def test_a_forecast_before_anything_is_downloaded(no_network, capsys):
    facts = json.loads(call(capsys, "DeepSeek-V3", *MAC, "--json"))["forecast"]
    assert facts["fits"]
    assert 0.05 < facts["experts_in_memory"] < 0.2
    slow, fast = facts["decode_tps"]
    most, least = facts["disk_bytes_per_token"]
    dense_s = 1 / slow - most / 6e9
    assert 1 / fast - least / 6e9 == pytest.approx(dense_s)
    assert 0.05 < dense_s < 0.1  # some 30 GB at 400 GB/s
    text = call(capsys, "DeepSeek-V3", *MAC)
    assert "tokens per second" in text
    assert "disk as given" in text


def test_a_forecast_of_what_does_not_fit_at_all(no_network, capsys):
    text = call(capsys, "DeepSeek-V3", "--memory", "24GB", "--disk", "6GB/s")
    assert "even with experts on disk" in text


def test_a_forecast_needs_a_speed_of_the_disk(no_network):
    with pytest.raises(DeepSeekError, match="--disk"):
        info.describe("DeepSeek-V3", memory="64GB")
    with pytest.raises(DeepSeekError, match="no size"):
        info.describe("DeepSeek-V3", memory="64GB", disk="fast")


def test_a_folder_is_measured(goldens_root, tmp_path, monkeypatch):
    from mlx_deepseek.checkpoint import room
    from mlx_deepseek.runtime import speed
    from mlx_deepseek_convert import convert

    monkeypatch.setattr(speed, "READ_S", 0.05)
    monkeypatch.setattr(speed, "PRODUCT_BYTES_CPU", 1 << 24)
    convert(goldens_root / "deepseek_v3", tmp_path / "mlx", "4bit")
    monkeypatch.setattr(room, "CONTEXT_TOKENS", 8)
    found, context = room.model_memory(tmp_path / "mlx")
    facts = info.describe(str(tmp_path / "mlx"))
    assert facts["forecast"] is None  # all of it fits
    between = found.nbytes - 1000  # with context, less than all experts fit
    assert found.least_bytes + context < between
    memory_text = f"{int(between * 8 / 7)}B"
    facts = info.describe(str(tmp_path / "mlx"), memory=memory_text)["forecast"]
    assert 0 < facts["experts_in_memory"] < 1
    assert facts["disk_bytes_per_s"] > 0
    assert facts["decode_tps"][0] > 0
    assert "measured" in facts["basis"]
