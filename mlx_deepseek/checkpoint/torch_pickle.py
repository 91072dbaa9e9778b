"""PyTorch's `.bin` weights without PyTorch, and without what makes pickles dangerous.

The file is a zip archive: `data.pkl` says which tensors there are, `data/N` are their bytes, stored
uncompressed. The pickle is not executed: its instructions are read one by one, and those that a
plain dictionary of tensors needs are interpreted. Everything else, such as a call of any function
but the three that make tensors, is refused. So a file's tensors have places as in safetensors, and
are read a few rows at a time.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_deepseek.checkpoint.safetensors_header import (
    DTYPES,
    HEADER_LIMIT_BYTES,
    Header,
    TensorInfo,
    require_file,
)
from mlx_deepseek.errors import CheckpointError

STORAGES = {
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "DoubleStorage": "F64",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
TENSOR = "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"
DICTIONARY = "collections OrderedDict"
VALUES = ("INT", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE")
VALUES = (*VALUES, "BINUNICODE8", "BINFLOAT")
EMPTY: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True)
class Storage:
    """One `data/N` of the archive: `count` items of `dtype`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's part of a storage; offset in items."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Named:
    """A global name: a function to call or a kind of storage."""

    name: str


def read_header(path: Path) -> Header:
    """Every tensor of one file by name, and no metadata; as `safetensors_header.read_header`.

    Raises:
        CheckpointError: not such a file, damaged, or with anything in it but tensors.
    """
    size = require_file(path)
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickles) != 1 or archive.getinfo(pickles[0]).file_size > HEADER_LIMIT_BYTES:
                raise refused(path, "it has not one data.pkl of a sane size")
            found = interpret(path, archive.read(pickles[0]))
            folder = pickles[0].removesuffix("data.pkl")
            starts: dict[str, int] = {}
            infos = {}
            for name, tensor in tensors(path, found):
                entry = archive.getinfo(f"{folder}data/{tensor.storage.key}")
                if entry.filename not in starts:
                    starts[entry.filename] = data_start(path, file, entry, tensor.storage)
                infos[name] = place(path, name, tensor, starts[entry.filename], size)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, OSError) as error:
        raise refused(path, f"not a whole archive of PyTorch's ({error})") from error
    return infos, {}


def interpret(path: Path, pickle: bytes) -> Any:
    """What a pickle of tensors builds: dictionaries, tuples, numbers, texts, `StoredTensor`s.

    Raises:
        CheckpointError: an instruction or a call that such pickles do not have.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def popped() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    try:
        for opcode, argument, _ in pickletools.genops(pickle):
            name = opcode.name
            if name in VALUES:
                stack.append(argument)
            elif name in EMPTY:
                stack.append(EMPTY[name]())
            elif name == "GLOBAL":
                stack.append(Named(str(argument)))
            elif name == "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(Named(f"{module} {attribute}"))
            elif name == "MARK":
                marks.append(len(stack))
            elif name == "TUPLE":
                stack.append(tuple(popped()))
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            elif name in ("APPEND", "APPENDS"):
                items = popped() if name == "APPENDS" else [stack.pop()]
                stack[-1].extend(items)
            elif name in ("SETITEM", "SETITEMS"):
                items = popped() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                stack[-1].update(entries(path, items))
            elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
                memo[len(memo) if argument is None else int(argument)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                stack.append(memo[int(argument)])  # type: ignore[arg-type]
            elif name == "BINPERSID":
                stack.append(storage(path, stack.pop()))
            elif name == "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(call(path, function, arguments))
            elif name == "BUILD":  # a state dictionary's versions of modules
                stack.pop()
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                raise refused(path, f"its pickle has the instruction {name}")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise refused(path, f"its pickle is damaged ({error})") from error
    raise refused(path, "its pickle has no end")


def entries(path: Path, items: list[Any]) -> dict[str, Any]:
    """Keys and values in turn; no other keys than texts, since hashing may take for ever."""
    if not all(type(key) is str for key in items[::2]):
        raise refused(path, "a key of its dictionary is no text")
    return dict(zip(items[::2], items[1::2], strict=True))


def call(path: Path, function: Any, arguments: Any) -> Any:
    """What one of the three functions that make tensors gives; all others are refused."""
    name = function.name if isinstance(function, Named) else "what is no function"
    if name == DICTIONARY and arguments == ():
        return {}
    if name == PARAMETER and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    if name == TENSOR and isinstance(arguments[0], Storage):
        stored, offset, shape, strides = arguments[:4]
        if all(map(counts, ((offset,), shape, strides))) and len(shape) == len(strides):
            return StoredTensor(stored, offset, shape, strides)
        raise refused(path, "a tensor's shape is none")
    raise refused(path, f"it calls {name.replace(' ', '.')}, which makes no tensor")


def storage(path: Path, key: Any) -> Storage:
    """What a persistent id ("storage", kind, key, device, items) names."""
    kind = key[1].name.removeprefix("torch ") if isinstance(key[1], Named) else ""
    whole = key[0] == "storage" and type(key[2]) is str and counts((key[4],))
    if not whole or kind not in STORAGES:
        raise refused(path, f"its storage {kind!r} is of no known kind")
    return Storage(key[2], STORAGES[kind], key[4])


def counts(numbers: Any) -> bool:
    """Whether these are numbers of things."""
    return isinstance(numbers, tuple) and all(type(n) is int and n >= 0 for n in numbers)


def tensors(path: Path, found: Any) -> Iterator[tuple[str, StoredTensor]]:
    """Names and tensors of a state dictionary."""
    if not isinstance(found, dict):
        raise refused(path, "it holds no dictionary of tensors")
    for name, tensor in found.items():
        if not isinstance(tensor, StoredTensor):
            raise refused(path, f"its entry {name!r} is no tensor")
        yield name, tensor


def data_start(path: Path, file: Any, entry: zipfile.ZipInfo, stored: Storage) -> int:
    """Where an archive's entry has its bytes; they must be stored as they are."""
    nbytes = stored.count * DTYPES[stored.dtype].nbytes
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size < nbytes:
        raise refused(path, f"{entry.filename} is compressed or too short")
    file.seek(entry.header_offset)
    header = file.read(LOCAL_HEADER_BYTES)
    if header[:4] != b"PK\x03\x04":
        raise refused(path, f"{entry.filename} is not where the archive says")
    lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return entry.header_offset + LOCAL_HEADER_BYTES + sum(lengths)


def place(path: Path, name: str, tensor: StoredTensor, start: int, size: int) -> TensorInfo:
    """Where a tensor's bytes are; they must be in row order and inside its storage."""
    stored, shape = tensor.storage, tensor.shape
    whole = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    count = math.prod(shape)
    ordered = all(
        step == expected or length == 1
        for step, expected, length in zip(tensor.strides, whole, shape, strict=True)
    )
    if not ordered or tensor.offset + count > stored.count:
        raise refused(path, f"tensor {name!r} is not in row order, or larger than its storage")
    item = DTYPES[stored.dtype].nbytes
    begin = start + tensor.offset * item
    if begin + count * item > size:
        raise refused(path, f"tensor {name!r} ends behind the file")
    return TensorInfo(name, path, stored.dtype, shape, begin, count * item)


def refused(path: Path, what: str) -> CheckpointError:
    """The error for a file that is not read."""
    return CheckpointError(
        f"{path}: {what}. Expected PyTorch weights (a zip archive of plain tensors, nothing else); "
        "take the .safetensors of the same release, or download the file again."
    )
