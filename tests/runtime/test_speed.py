"""Probes of this machine: they measure what they say."""

import mlx.core as mx
import pytest

from mlx_deepseek.runtime import speed


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(speed, "READ_S", 0.05)
    for name in ("PRODUCT_BYTES_CPU", "PRODUCT_BYTES_GPU", "COPY_BYTES_CPU", "COPY_BYTES_GPU"):
        monkeypatch.setattr(speed, name, 1 << 24)


def test_a_disk_is_read_at_random_places(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    files[0].write_bytes(bytes(10 << 20))
    files[1].write_bytes(bytes(1000))  # shorter than a read
    assert speed.disk_bytes_per_s(files) > 0


@pytest.mark.parametrize("rows", [1, 4])
def test_products_count_bytes_times_rows(rows, monkeypatch):
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    layers = speed.matrices(4, rows)
    nbytes = sum(array.nbytes for layer in layers for array in speed.arrays(layer))
    assert nbytes > 16 << 20 >> (1 if rows == 1 else 2)
    assert speed.product_bytes_per_s(rows) == nbytes * rows  # in one second of that clock


def test_a_copy_is_timed():
    assert speed.copy_bytes_per_s() > 0
    assert mx.get_active_memory() >= 0
