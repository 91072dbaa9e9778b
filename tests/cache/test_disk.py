"""Files: found again after a restart, checked before use, bounded; without them memory goes on."""

import errno
import json
import os
import tempfile
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.cache import blocks
from mlx_deepseek.cache.blocks import BLOCK
from mlx_deepseek.cache.prefix_cache import PrefixCache
from tests.cache.layers import fresh, made, prompt, same

PLENTY = 1 << 30


def opened(folder: Path, key: str = "k", memory_bytes: int = 0, **limits: int) -> PrefixCache:
    """A store as after a restart; without memory every block is read from its file."""
    return PrefixCache(key, memory_bytes=memory_bytes, folder=folder, **limits)


def files(folder: Path) -> list[Path]:
    """Every file, least recently used first."""
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda p: p.stat().st_mtime_ns
    )


def restored(cache: PrefixCache, ids: list[int], form: str = "latent") -> int:
    """Blocks restored, which must be right."""
    layers = fresh(form)
    tokens = cache.restore(ids, layers)
    assert not tokens or same(layers, made(ids[:tokens], form))
    return tokens // BLOCK


@pytest.fixture
def ids() -> list[int]:
    return prompt(0, 3 * BLOCK + 10)


@pytest.fixture
def chain(tmp_path, ids) -> list[Path]:
    """The files of three consecutive blocks, first to last."""
    opened(tmp_path).store(ids, made(ids))
    return files(tmp_path)[::-1]


@pytest.mark.parametrize("form", ["latent", "bfloat16", "heads", "nested"])
def test_restart(tmp_path, ids, form):
    assert opened(tmp_path).store(ids, made(ids, form)) == 3
    cache = opened(tmp_path, memory_bytes=PLENTY)
    assert cache.match(ids) == 3 * BLOCK
    assert restored(cache, ids, form) == 3
    held = cache.memory_nbytes
    assert 0 < held < cache.folder_nbytes
    cache.clear()
    assert opened(tmp_path).match(ids) == 0


def test_what_a_file_brought_stays_in_memory(tmp_path, ids, chain):
    cache = opened(tmp_path, memory_bytes=PLENTY)
    assert restored(cache, ids[: 2 * BLOCK]) == 2
    for path in chain:
        path.unlink()
    assert restored(cache, ids) == 2
    assert cache.store(ids, made(ids)) == 1
    assert len(files(tmp_path)) == 3  # parents too, or the new one would be out of reach


def test_nobody_else_may_read_conversations(tmp_path, ids):
    folder = tmp_path / "a" / "b"
    opened(folder).store(ids, made(ids))
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files(folder))
    assert all(p.stat().st_mode & 0o777 == 0o700 for p in [folder, *folder.iterdir()])


def test_looking_makes_no_folder(tmp_path, ids):
    cache = opened(tmp_path / "none")
    assert cache.match(ids) == restored(cache, ids) == cache.folder_nbytes == 0
    cache.clear()
    assert not (tmp_path / "none").exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path: Path, at: int = -100, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def header_only(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nonsense(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def huge_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 7 + b"\x7f" + path.read_bytes()[8:])


def another_block(path: Path) -> None:
    other = next(p for p in path.parent.iterdir() if p != path)
    path.write_bytes(other.read_bytes())


def rewritten(path: Path, **changes: str) -> None:
    """The same tensors under other metadata, as another program would write them."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= changes
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def another_key(path: Path) -> None:
    rewritten(path, key="another")


def another_format(path: Path) -> None:
    rewritten(path, format="mlx-deepseek prefix block 0")


def no_digest(path: Path) -> None:
    rewritten(path, digest="")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        extend,
        flip,
        header_only,
        empty,
        nonsense,
        huge_header,
        another_block,
        another_key,
        another_format,
        no_digest,
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_file_ends_the_chain(tmp_path, ids, chain, damage, place):
    damage(chain[place])
    cache = opened(tmp_path)
    with pytest.warns(UserWarning, match=chain[place].name) as warned:
        assert restored(cache, ids) == place
    assert len(warned) == 1
    assert not chain[place].exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert restored(cache, ids) == place
        assert cache.store(ids, made(ids)) == 1
        assert restored(opened(tmp_path), ids) == 3


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_may_differ(at, bit):
    ids = prompt(0, BLOCK)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened(Path(folder)).store(ids, made(ids))
        (path,) = files(Path(folder))
        flip(path, at % path.stat().st_size, bit)
        assert restored(opened(Path(folder)), ids) == 0


def test_another_version_of_the_format(tmp_path, ids, chain, monkeypatch):
    monkeypatch.setattr(blocks, "FORMAT", "mlx-deepseek prefix block 2")
    with pytest.warns(UserWarning, match="not a block"):
        assert restored(opened(tmp_path), ids) == 0


def test_a_block_of_another_layout(tmp_path, ids, chain):
    cache = opened(tmp_path)
    cache.store(ids[:BLOCK], made(ids[:BLOCK], "bfloat16"))  # nothing to write: files are there
    with pytest.warns(UserWarning, match=chain[0].name):
        assert restored(cache, ids, "bfloat16") == 0
    assert cache.store(ids, made(ids, "bfloat16")) == 1
    with pytest.warns(UserWarning, match=chain[1].name):
        assert restored(opened(tmp_path), ids, "bfloat16") == 1


def test_a_file_that_cannot_be_read(tmp_path, ids, chain, monkeypatch):
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path == chain[1]:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.warns(UserWarning, match=chain[1].name):
        assert restored(opened(tmp_path), ids) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path, ids, chain):
    chain[1].chmod(0)
    with pytest.warns(UserWarning, match=chain[1].name):
        assert restored(opened(tmp_path), ids) == 1


def test_a_damaged_file_that_stays(tmp_path, ids, chain, monkeypatch):
    flip(chain[1])
    unlink = Path.unlink

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path == chain[1]:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)
    cache = opened(tmp_path)
    with pytest.warns(UserWarning, match=chain[1].name) as warned:
        assert restored(cache, ids) == restored(cache, ids) == 1
    assert len(warned) == 1
    assert cache.match(ids) == BLOCK
    assert cache.store(ids, made(ids)) == 1  # written over
    assert restored(cache, ids) == 3


def test_a_file_that_vanishes_is_not_damage(tmp_path, ids, chain, monkeypatch):
    read = Path.read_bytes

    def vanish(path: Path) -> bytes:
        if path == chain[1]:
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", vanish)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert restored(opened(tmp_path), ids) == 1


def test_the_folder_is_bounded(tmp_path, ids, chain):
    size = chain[0].stat().st_size
    cache = opened(tmp_path, folder_bytes=5 * size)
    other = opened(tmp_path, "j", folder_bytes=5 * size)
    more = [prompt(i, 2 * BLOCK) for i in range(1, 3)]
    other.store(more[0], made(more[0]))
    assert cache.folder_nbytes == 5 * size
    assert restored(cache, ids) == 3  # now the other store's are the oldest
    assert cache.store(more[1][:BLOCK], made(more[1])) == 1
    assert other.match(more[0]) == BLOCK  # of a chain the end goes first
    assert cache.store(more[1], made(more[1])) == 1
    assert cache.match(ids) == 3 * BLOCK
    assert other.match(more[0]) == 0


def test_a_chain_longer_than_the_folder_may_hold(tmp_path, ids, chain):
    size = chain[0].stat().st_size
    cache = opened(tmp_path, folder_bytes=4 * size + 50)
    long = prompt(5, 9 * BLOCK)
    for _ in range(2):
        cache.store(long, made(long))
        assert cache.match(long) == 4 * BLOCK
        assert cache.folder_nbytes <= 4 * size + 50


def test_unfinished_files(tmp_path, ids, chain):
    store = chain[0].parent
    old, young, unknown = (store / n for n in ("7-abc_1.tmp", "8-abc_2.tmp", "notes.txt"))
    for path in (old, young, unknown):
        path.write_bytes(b"...")
    for path in (old, unknown):
        os.utime(path, (0, time.time() - 4000))
    cache = opened(tmp_path)
    more = prompt(1, BLOCK)
    cache.store(more, made(more))
    assert not old.exists()
    assert young.exists()
    cache.clear()
    assert files(tmp_path) == [unknown]


def test_a_full_disk(tmp_path, ids, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    cache = opened(tmp_path, memory_bytes=PLENTY)
    with pytest.warns(UserWarning, match="No space left") as warned:
        stored = [cache.store(ids[: n * BLOCK], made(ids)) for n in (2, 3)]
    assert stored == [2, 1]
    assert len(warned) == 1
    assert restored(cache, ids) == 3
    assert files(tmp_path) == []


def test_another_process_clears_the_folder(tmp_path, ids, monkeypatch):
    sync = os.fsync

    def clear(descriptor: int) -> None:
        sync(descriptor)
        opened(tmp_path).clear()

    cache = opened(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", clear)
            assert cache.store(ids, made(ids)) == 0
        assert cache.store(ids, made(ids)) == 3


def test_a_folder_that_cannot_be_made(tmp_path, ids):
    (tmp_path / "file").write_text("")
    cache = opened(tmp_path / "file" / "folder", memory_bytes=PLENTY)
    with pytest.warns(UserWarning, match="memory only"):
        assert cache.store(ids, made(ids)) == 3
    assert restored(cache, ids) == 3
    assert cache.folder_nbytes == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(tmp_path, ids, chain):
    chain[0].parent.chmod(0o500)
    cache = opened(tmp_path, memory_bytes=PLENTY)
    more = ids[: 3 * BLOCK] + prompt(1, BLOCK)
    with pytest.warns(UserWarning, match="memory only"):
        assert cache.store(more, made(more)) == 1
    chain[0].parent.chmod(0o700)
    assert restored(cache, more) == 4
