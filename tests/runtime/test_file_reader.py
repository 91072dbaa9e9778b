"""Parts of files: whole, in pieces, converted; and everything that goes wrong on a disk."""

import errno
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.runtime import file_reader
from mlx_deepseek.runtime.file_reader import FileReader, Part, pieces, together

SIZE = 200_000


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data"
    path.write_bytes(random.Random(0).randbytes(SIZE))
    return path


def part(file, offset: int, nbytes: int, convert=None) -> Part:
    return Part(file, offset, nbytes, np.zeros(nbytes, np.uint8), convert)


@settings(max_examples=50, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 20_000)), max_size=40),
    piece=st.sampled_from([7, 1000, 4096, 1 << 20]),
)
def test_every_part_gets_its_bytes(file, spans, piece):
    whole = file.read_bytes()
    parts = [part(file, start, min(length, SIZE - start)) for start, length in spans]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_reader, "PIECE_BYTES", piece)
        FileReader({file}).start(parts).wait()
    for one in parts:
        assert one.memory.tobytes() == whole[one.offset : one.offset + one.nbytes]


def test_neighbours_are_read_together(file, monkeypatch):
    monkeypatch.setattr(file_reader, "PIECE_BYTES", 300)
    groups = together(pieces(part(file, start, 100) for start in (500, 0, 100, 300, 200, 700)))
    assert [[one.offset for one in group] for group in groups] == [
        [0, 100, 200],
        [300],
        [500],
        [700],
    ]
    cut = pieces([part(file, 0, 700)])
    assert [(one.offset, one.nbytes) for one in cut] == [(0, 300), (300, 300), (600, 100)]


def test_what_is_converted_stays_whole(file, monkeypatch):
    monkeypatch.setattr(file_reader, "PIECE_BYTES", 300)

    def doubled(values: np.ndarray, memory: np.ndarray) -> None:
        memory[:] = np.repeat(values, 2)

    parts = [
        Part(file, start, size, np.zeros(2 * size, np.uint8), doubled)
        for start, size in ((0, 1000), (1000, 100), (1100, 100))
    ]
    FileReader({file}).start(parts).wait()
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    for one in parts:
        wanted = np.repeat(whole[one.offset : one.offset + one.nbytes], 2)
        assert np.array_equal(one.memory, wanted)


def test_a_read_may_return_less_than_it_was_asked_for(file, monkeypatch):
    real = os.preadv

    def short(descriptor, buffers, offset):
        return real(descriptor, [buffers[0][: max(1, len(buffers[0]) // 3)]], offset)

    monkeypatch.setattr(os, "preadv", short)
    one = part(file, 10, 5000)
    FileReader({file}).start([one]).wait()
    assert one.memory.tobytes() == file.read_bytes()[10:5010]


def fail(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_disk_that_fails_is_named_with_file_and_offset(file, monkeypatch):
    reader = FileReader({file})
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(CheckpointError, match=r"data: cannot be read at byte 1234 \(Input/output"):
        reader.start([part(file, 1234, 10)]).wait()


def test_a_file_that_was_cut_short(tmp_path):
    path = tmp_path / "cut"
    path.write_bytes(bytes(100))
    reader = FileReader({path})
    os.truncate(path, 60)
    with pytest.raises(CheckpointError, match="ends at byte 60"):
        reader.start([part(path, 50, 40)]).wait()


def test_a_file_that_changed_while_it_was_open(tmp_path):
    path = tmp_path / "changed"
    path.write_bytes(bytes(100))
    reader = FileReader({path})
    os.utime(path, ns=(1, 1))
    path.write_bytes(bytes(99) + b"x")
    with pytest.raises(CheckpointError, match="has changed since the model was loaded"):
        reader.start([part(path, 0, 100)]).wait()


def test_a_file_that_was_replaced_is_still_read_as_it_was(tmp_path):
    path = tmp_path / "replaced"
    path.write_bytes(bytes(100))
    reader = FileReader({path})
    (tmp_path / "new").write_bytes(b"x" * 100)
    os.replace(tmp_path / "new", path)
    one = part(path, 0, 100)
    reader.start([one]).wait()
    assert one.memory.tobytes() == bytes(100)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="gone: cannot be read"):
        FileReader([tmp_path / "gone"])
