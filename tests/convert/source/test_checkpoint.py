"""Damaged, incomplete and hostile checkpoints are refused with the file's and tensor's name."""

import json
import os
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek.checkpoint.files import INDEX
from mlx_deepseek.checkpoint.safetensors_header import build_header, read_header
from mlx_deepseek.errors import CheckpointError, ConfigError, DeepSeekError
from mlx_deepseek_convert import convert, is_source, plan
from mlx_deepseek_convert.source.checkpoint import open_source
from mlx_deepseek_convert.write.run import execute

NORM = "model.norm.weight"


@pytest.fixture
def sharded(goldens_root, tmp_path) -> Path:
    """A copy of a two-shard BF16 checkpoint."""
    return copy_case(goldens_root / "deepseek_v3", tmp_path / "sharded")


@pytest.fixture
def single(goldens_root, tmp_path) -> Path:
    """A copy of a one-file FP8 checkpoint."""
    return copy_case(goldens_root / "deepseek_v3_fp8", tmp_path / "single")


def copy_case(case: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in case.iterdir():
        if path.name.startswith("model") or path.name == "config.json":
            shutil.copyfile(path, folder / path.name)
    return folder


def edit_header(path: Path, change) -> None:
    """Let `change` rewrite a file's header; the data stays."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])


def edit_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(folder: Path, *words: str, error: type[Exception] = CheckpointError) -> None:
    """Planning and converting raise `error` naming `words`, and leave no target behind."""
    with pytest.raises(error) as raised:
        plan(folder)
    for word in words:
        assert word in str(raised.value)
    target = folder.with_name("target")
    with pytest.raises(error):
        convert(folder, target)
    assert not target.exists()
    assert not target.with_name("target.partial").exists()


def test_missing_shard(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    refused(sharded, "model-00002-of-00002.safetensors", "missing", "tensor")


def test_missing_shard_without_index(sharded):
    (sharded / INDEX).unlink()
    (sharded / "model-00002-of-00002.safetensors").unlink()
    refused(sharded, "model-00002-of-00002.safetensors", "missing")


def test_shards_without_index_are_found(sharded):
    (sharded / INDEX).unlink()
    assert plan(sharded).parameters > 0


def test_truncated_file(single):
    path = single / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    last = max(read_header_unchecked(path).items(), key=lambda item: item[1]["data_offsets"][1])
    refused(single, "model.safetensors", repr(last[0]), "cut short")


def read_header_unchecked(path: Path) -> dict:
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


@pytest.mark.parametrize("length", [0, 3, 2**40, 2**63, 2**64 - 1])
def test_header_of_nonsense_size(single, length):
    path = single / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    refused(single, "model.safetensors", "header")


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x02\0\0\0\0\0\0\0[]", b"version https://git"])
def test_no_safetensors_file_at_all(single, content):
    (single / "model.safetensors").write_bytes(content)
    refused(single, "model.safetensors", "header")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"dtype": "F7"}, "dtype"),
        ({"dtype": ["F32"]}, "dtype"),
        ({"shape": [191]}, "takes 382 bytes"),
        ({"shape": [-192]}, "shape"),
        ({"shape": "192"}, "shape"),
        ({"shape": [True]}, "shape"),
        ({"data_offsets": [0]}, "data_offsets"),
        ({"data_offsets": [9, 3]}, "data_offsets"),
        ({"data_offsets": [0.0, 384.0]}, "data_offsets"),
        ({"data_offsets": [0, 384]}, "overlap"),
        ({"data_offsets": [10**15, 10**15 + 384]}, "cut short"),
    ],
)
def test_contradicting_header_entry(single, change, word):
    edit_header(single / "model.safetensors", lambda header: header[NORM].update(change))
    # Where bytes overlap, either of the two tensors may be named.
    refused(single, "model.safetensors", word, *(() if word == "overlap" else (repr(NORM),)))


def test_header_entry_that_is_no_object(single):
    edit_header(single / "model.safetensors", lambda header: header.update({NORM: 5}))
    refused(single, "model.safetensors", repr(NORM))


def test_tensor_twice_in_a_header(single):
    path = single / "model.safetensors"
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    text = content[8:end].rstrip()[:-1] + b',"model.norm.weight":{}}'
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    refused(single, "model.safetensors", repr(NORM), "twice")


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "a/../../model.safetensors", "", "x.bin", 7, None],
)
def test_index_naming_a_path_outside_the_folder(sharded, name):
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"][NORM] = name
    (sharded / INDEX).write_text(json.dumps(index))
    refused(sharded, INDEX, repr(NORM), repr(name))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', "{" * 5000])
def test_damaged_index(sharded, text):
    (sharded / INDEX).write_text(text)
    refused(sharded, INDEX)


def test_index_naming_a_tensor_its_file_lacks(sharded):
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"]["ghost.weight"] = index["weight_map"][NORM]
    (sharded / INDEX).write_text(json.dumps(index))
    refused(sharded, index["weight_map"][NORM], "'ghost.weight'")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_other_pickles_are_not_read(single, name):
    (single / "model.safetensors").unlink()
    (single / name).write_bytes(b"\x80\x04cos\nsystem\n")
    refused(single, "no weights" if name[0] != "p" else name, "PyTorch")


def test_no_weights(single):
    (single / "model.safetensors").unlink()
    refused(single, "no weights")


def test_no_folder_and_no_config(single):
    (single / "config.json").unlink()
    refused(single, "config.json", error=ConfigError)
    refused(single / "nowhere", "no such folder", error=DeepSeekError)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": "gpt2"}'])
def test_bad_config(single, text):
    (single / "config.json").write_text(text)
    refused(single, error=ConfigError)


def test_unknown_architecture(single):
    edit_json(single / "config.json", model_type="deepseek_v9")
    refused(single, "deepseek_v9", error=ConfigError)


def test_unknown_tensor(single):
    def rename(header):
        header["model.layers.0.mystery.weight"] = header.pop(NORM)

    edit_header(single / "model.safetensors", rename)
    refused(single, "'model.layers.0.mystery.weight'", "unknown tensor")


def test_wrong_shape(sharded):
    edit_json(sharded / "config.json", vocab_size=255)
    refused(sharded, "model-0000", "tensor", "[256, 64]", "[255, 64]")


def test_wrong_head_count(sharded):
    edit_json(sharded / "config.json", qk_nope_head_dim=17)
    refused(sharded, "model-0000", "tensor")


def test_missing_expert(single):
    def forget(header):
        for name in [n for n in header if "layers.1.mlp.experts.3.up_proj" in n]:
            del header[name]

    edit_header(single / "model.safetensors", forget)
    refused(single, "expert 3", "experts.4.up_proj.weight")


def test_missing_last_expert(single):
    def forget(header):
        for name in [n for n in header if "layers.1.mlp.experts.7.up_proj" in n]:
            del header[name]

    edit_header(single / "model.safetensors", forget)
    refused(single, "model.layers.1.mlp.experts.0.up_proj.weight", "[7, 40, 192]", "[8, 40, 192]")


def test_missing_parameter(single):
    norm = "model.layers.1.self_attn.kv_a_layernorm.weight"
    edit_header(single / "model.safetensors", lambda header: header.pop(norm))
    refused(single, repr(norm), "[130]")


SCALED = "model.layers.0.mlp.up_proj.weight"


def test_fp8_weight_without_scale(single):
    edit_header(single / "model.safetensors", lambda header: header.pop(SCALED + "_scale_inv"))
    refused(single, "model.safetensors", repr(SCALED))


def test_scale_without_weight(single):
    edit_header(single / "model.safetensors", lambda header: header.pop(SCALED))
    refused(single, "model.safetensors", repr(SCALED + "_scale_inv"))


def test_scale_grid_of_the_wrong_size(single):
    def swap(header):
        header[SCALED + "_scale_inv"]["shape"].reverse()

    edit_header(single / "model.safetensors", swap)
    refused(single, repr(SCALED + "_scale_inv"), "[3, 2]")


@pytest.mark.parametrize("block", [[128], [0, 128], "128", [128, -1], [1.5, 2]])
def test_bad_block_size(single, block):
    edit_json(single / "config.json", quantization_config={"weight_block_size": block})
    refused(single, "weight_block_size", error=ConfigError)


def test_other_quantization(single):
    edit_json(single / "config.json", quantization_config={"quant_method": "gptq"})
    refused(single, "gptq")


def test_a_tensor_in_two_files(single):
    shutil.copyfile(single / "model.safetensors", single / "model-copy.safetensors")
    refused(single, "model.safetensors", "is in model-copy.safetensors too")


def test_file_shrinking_after_planning(single):
    planned = plan(single)
    path = single / "model.safetensors"
    path.write_bytes(path.read_bytes()[:4000])
    target = single.with_name("target")
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*tensor"):
        execute(planned, target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["single"]


def test_file_changing_while_it_is_read(single):
    path, target = single / "model.safetensors", single.with_name("target")

    def touch(done: int, total: int) -> None:
        os.utime(path, ns=(0, done))

    with pytest.raises(CheckpointError, match="changed while they were read"):
        convert(single, target, progress=touch)
    assert sorted(path.name for path in target.parent.iterdir()) == ["single"]


def test_an_mlx_checkpoint_is_no_source(single):
    target = single.with_name("mlx")
    convert(single, target)
    assert is_source(single)
    assert not is_source(target)
    refused(target, "already an MLX checkpoint")


def test_dense_checkpoints_are_told_apart_by_metadata(goldens_root, tmp_path):
    source, target = goldens_root / "deepseek_llm_7b", tmp_path / "mlx"
    convert(source, target, "bf16")
    assert is_source(source)
    assert not is_source(target)


def test_ue8m0_scales_are_read(single):
    """Scales as exponents give what the same powers of two give in float32."""
    path = single / "model.safetensors"
    source = open_source(single)
    header, _ = read_header(path)
    exponents = {
        name: np.random.default_rng(5).integers(118, 124, info.shape).astype(np.uint8)
        for name, info in header.items()
        if name.endswith("_scale_inv")
    }

    def rewrite(folder: Path, dtype: str, encode) -> dict:
        folder.mkdir()
        shutil.copyfile(single / "config.json", folder / "config.json")
        kinds = {n: dtype if n in exponents else i.dtype for n, i in header.items()}
        start, starts = build_header({n: (kinds[n], i.shape) for n, i in header.items()}, {})
        data = bytearray(start)
        for name, info in header.items():
            old = path.read_bytes()[info.start : info.start + info.nbytes]
            new = encode(exponents[name]) if name in exponents else old
            assert len(data) == starts[name]
            data += new
        (folder / "model.safetensors").write_bytes(bytes(data))
        return dict(open_source(folder).tensors)

    def powers(codes: np.ndarray) -> bytes:
        return np.ldexp(np.float32(1), codes.astype(int) - 127).astype(np.float32).tobytes()

    as_float = rewrite(single.with_name("f32"), "F32", powers)
    as_exponent = rewrite(single.with_name("e8m0"), "F8_E8M0", lambda codes: codes.tobytes())
    assert source.tensors.keys() == as_float.keys() == as_exponent.keys()
    assert all(mx.array_equal(as_float[name].read(), as_exponent[name].read()) for name in as_float)
