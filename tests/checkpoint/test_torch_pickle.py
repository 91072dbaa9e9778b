"""PyTorch's files are read without PyTorch, and nothing in them is ever run."""

import collections
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.checkpoint.safetensors_header import read_header as read_safetensors
from mlx_deepseek.checkpoint.torch_pickle import interpret, read_header
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert, weights
from mlx_deepseek_convert.source.tensors import as_array, read_bytes

KINDS = {"F32": "FloatStorage", "BF16": "BFloat16Storage", "F16": "HalfStorage"}


class Call:
    """Pickles as a call of `name` in `module` with `arguments`."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


class Name(str):
    """Pickles as a global name."""


class Persistent(tuple):
    """Pickles as a persistent id."""


class Pickler(pickle._Pickler):
    """Writes what torch.save does, without torch."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(pickle.GLOBAL + obj.replace(" ", "\n").encode() + b"\n")
        elif isinstance(obj, Call):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(obj, Persistent):
            self.save(tuple(obj))
            self.write(pickle.BINPERSID)
        else:
            super().save(obj, save_persistent_id)


def pickled(content) -> bytes:
    file = io.BytesIO()
    Pickler(file, 2).dump(content)
    return file.getvalue()


def tensor(kind, key, count, shape, offset=0, strides=None):
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    ordered = Call("collections", "OrderedDict")
    name = Name(f"torch {kind}")
    return Call(
        "torch._utils",
        "_rebuild_tensor_v2",
        Persistent(("storage", name, key, "cpu", count)),
        offset,
        shape,
        strides,
        False,
        ordered,
    )


def archive(path: Path, data: bytes, storages: dict[str, bytes], method=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("pytorch_model/data.pkl", data)
        for key, content in storages.items():
            file.writestr(f"pytorch_model/data/{key}", content)
        file.writestr("pytorch_model/version", "3\n")
    return path


def as_torch(folder: Path, to: Path) -> None:
    """A safetensors checkpoint as torch.save writes it, in two shards with an index."""
    infos, _ = read_safetensors(next(folder.glob("model*.safetensors")))
    data = next(folder.glob("model*.safetensors")).read_bytes()
    names, index = sorted(infos), {}
    for shard in range(2):
        own, content, storages = names[shard::2], {}, {}
        for key, name in enumerate(own):
            info = infos[name]
            item = info.nbytes // max(1, int(np.prod(info.shape)))
            made = tensor(KINDS[info.dtype], str(key), info.nbytes // item, info.shape)
            content[name] = made
            storages[str(key)] = data[info.start : info.start + info.nbytes]
        file = f"pytorch_model-0000{shard + 1}-of-00002.bin"
        archive(to / file, pickled(content), storages)
        index |= dict.fromkeys(own, file)
    (to / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    (to / "config.json").write_bytes((folder / "config.json").read_bytes())


@pytest.mark.parametrize("case", ["deepseek_llm_7b", "deepseek_moe_16b"])
def test_a_bin_release_is_the_safetensors_release(goldens_root, tmp_path, case):
    (tmp_path / "bin").mkdir()
    as_torch(goldens_root / case, tmp_path / "bin")
    ours = dict(weights(tmp_path / "bin", "float32"))
    theirs = dict(weights(goldens_root / case, "float32"))
    assert ours.keys() == theirs.keys()
    assert all(mx.array_equal(ours[name], theirs[name]) for name in ours)
    convert(tmp_path / "bin", tmp_path / "a")
    convert(goldens_root / case, tmp_path / "b")
    for path in (tmp_path / "b").glob("*.safetensors"):
        assert (tmp_path / "a" / path.name).read_bytes() == path.read_bytes()


def test_parts_of_a_shared_storage(tmp_path):
    values = np.arange(12, dtype=np.float32)
    parameter = Call("torch._utils", "_rebuild_parameter", tensor("FloatStorage", "0", 12, (2, 3)))
    parameter.arguments += (True, Call("collections", "OrderedDict"))
    content = {"a": parameter, "b": tensor("FloatStorage", "0", 12, (2, 2), offset=8)}
    content["c"] = tensor("FloatStorage", "0", 12, (), offset=11)
    path = archive(tmp_path / "x.bin", pickled(content), {"0": values.tobytes()})
    infos, _ = read_header(path)
    read = {name: np.array(as_array(info, read_bytes(info))) for name, info in infos.items()}
    assert np.array_equal(read["a"], values[:6].reshape(2, 3))
    assert np.array_equal(read["b"], values[8:].reshape(2, 2))
    assert read["c"] == 11


class Evil:
    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


# A tuple of a tuple twice of a tuple twice...: hashing or printing it would never end.
NESTED = b")q\0" + b"h\0\x86q\0" * 60


FLOATS = b"\0" * 16
GOOD = tensor("FloatStorage", "0", 4, (2, 2))
HOSTILE = {
    "system": pickle.dumps({"a": Evil(os.system, "touch /tmp/owned")}, 2),
    "eval": pickle.dumps({"a": Evil(eval, "1")}, 4),
    "getattr": pickle.dumps({"a": Evil(getattr, 1, "real")}, 2),
    "class": pickled({"a": Call("builtins", "dict")}),
    "dict with content": pickled({"a": Call("collections", "OrderedDict", [("a", 1)])}),
    "instance": pickle.dumps(collections.Counter(), 0),
    "number for a tensor": pickled({"a": 1}),
    "list": pickled([GOOD]),
    "key of nested tuples": b"\x80\x02}" + NESTED + b"K\x01s.",
    "call of nested tuples": b"\x80\x02}X\x01\0\0\0a" + NESTED + b")Rs.",
    "storage of nested tuples": b"\x80\x02}X\x01\0\0\0a" + NESTED + b"Qs.",
    "tensor of nested tuples": b"\x80\x02}X\x01\0\0\0a" + NESTED + b"s.",
    "key of numbers": pickled({1: GOOD}),
    "unknown storage": pickled({"a": tensor("QUInt8Storage", "0", 4, (2, 2))}),
    "no storage": pickled({"a": tensor("FloatStorage", "1", 4, (2, 2))}),
    "too large": pickled({"a": tensor("FloatStorage", "0", 4, (3, 2))}),
    "larger storage than there is": pickled({"a": tensor("FloatStorage", "0", 400, (20, 20))}),
    "behind the storage": pickled({"a": tensor("FloatStorage", "0", 4, (2, 2), offset=1)}),
    "negative offset": pickled({"a": tensor("FloatStorage", "0", 4, (2, 2), offset=-1)}),
    "transposed": pickled({"a": tensor("FloatStorage", "0", 4, (2, 2), strides=(1, 2))}),
    "broadcast": pickled({"a": tensor("FloatStorage", "0", 4, (9, 4), strides=(0, 1))}),
    "text for a shape": pickled({"a": tensor("FloatStorage", "0", 4, ("2",), strides=(1,))}),
    "cut": pickled({"a": GOOD})[:-1],
    "empty": b"",
    "not a pickle": b"hello",
    "memo of nothing": b"h\x07.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_whatever_is_not_a_plain_dictionary_of_tensors_is_refused(tmp_path, data):
    path = archive(tmp_path / "x.bin", data, {"0": FLOATS})
    with pytest.raises(CheckpointError, match=r"x\.bin: .*Expected PyTorch weights"):
        read_header(path)
    assert not Path("/tmp/owned").exists()


def test_archives_that_lie(tmp_path):
    data = pickled({"a": GOOD})
    whole = archive(tmp_path / "x.bin", data, {"0": FLOATS}).read_bytes()
    assert read_header(tmp_path / "x.bin")[0]["a"].shape == (2, 2)
    for name, content in (("cut", whole[:-30]), ("none", b""), ("pickle", data)):
        (tmp_path / f"{name}.bin").write_bytes(content)
        with pytest.raises(CheckpointError, match="archive"):
            read_header(tmp_path / f"{name}.bin")
    archive(tmp_path / "packed.bin", data, {"0": FLOATS}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        read_header(tmp_path / "packed.bin")
    os.mkfifo(tmp_path / "pipe.bin")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_header(tmp_path / "pipe.bin")


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=80), st.data())
def test_any_bytes_are_a_dictionary_or_an_error(noise, data):
    good = pickled({"a": GOOD})
    at = data.draw(st.integers(0, len(good)))
    for content in (noise, good[:at] + noise + good[at:], good[:at] + noise):
        try:
            interpret(Path("x.bin"), content)
        except CheckpointError:
            continue
