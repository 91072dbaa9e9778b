"""Converting a DeepSeek-V2-Lite: memory, time, beside mlx_lm.convert, and killed ten times.

    python tests/bench/convert_v2_lite.py FOLDER [--layers 27] [--experts 64] [--kills 10]
                                                 [--full-disk] [--skip-mlx-lm]

Writes a BF16 checkpoint with the release's names and shapes and random values to FOLDER/source
(27 layers and 64 experts: 15.7 B parameters, 31 GB), unless it is there, and converts it to 4 bits:
in one go, with mlx_lm.convert, with as many kills at random moments as asked for, and, as root,
into a file system that is too small first. Peak memory is the most that the process had resident,
minus what Python with MLX and mlx-lm imported takes; page cache does not count.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mlx_deepseek import catalog
from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.checkpoint.safetensors_header import DTYPES, build_header
from tests.convert.released import released_tensors

Entries = dict[str, tuple[str, tuple[int, ...]]]
Writer = Callable[[Path, Entries, int], None]  # a file's path, tensors and number
SHARD_BYTES = 4_300_000_000
OURS = "from mlx_deepseek_convert import convert; import sys; convert(*sys.argv[1:])"
THEIRS = (
    "from mlx_lm import convert; import sys; convert(sys.argv[1], sys.argv[2], quantize=True, "
    "q_bits=4, q_group_size=64)"
)
IDLE = "import mlx_deepseek_convert.write.run, mlx_lm, mlx.core as mx; mx.eval(mx.zeros(1))"


def v2_lite(layers: int, experts: int) -> dict[str, Any]:
    """The config of a V2-Lite of another size."""
    entry = catalog.find("deepseek-ai/DeepSeek-V2-Lite")
    assert entry is not None
    return {**entry.config, "num_hidden_layers": layers, "n_routed_experts": experts}


def make_source(folder: Path, config: dict[str, Any], write: Writer) -> int:
    """Write a checkpoint of a config, each file by `write`; its bytes."""
    shards: list[dict[str, tuple[str, tuple[int, ...]]]] = [{}]
    room = SHARD_BYTES
    for name, dtype, shape in released_tensors(config):
        nbytes = DTYPES[dtype].nbytes * int(np.prod(shape))
        if nbytes > room:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = dtype, shape
        room -= nbytes
    folder.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for number, entries in enumerate(shards):
        name = f"model-{number + 1:05d}-of-{len(shards):06d}.safetensors"
        weight_map |= dict.fromkeys(entries, name)
        write(folder / name, entries, number)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def write_shard(path: Path, entries: Entries, seed: int) -> None:
    """Random values of about 0.02, as bfloat16: the upper halves of float32 numbers."""
    header, _ = build_header(entries, {"format": "pt"})
    size = len(header) + sum(DTYPES[d].nbytes * int(np.prod(s)) for d, s in entries.values())
    if path.is_file() and path.stat().st_size == size:
        return
    draw = np.random.default_rng(seed)
    values = draw.standard_normal((1 << 24) + 977, dtype=np.float32) * 0.02
    block = (values.view(np.uint32) >> 16).astype(np.uint16)
    with path.open("wb") as file:
        file.write(header)
        left = size - len(header)
        while left:
            part = block[: left // 2]
            file.write(part.tobytes())
            left -= part.nbytes
            np.random.default_rng(left).shuffle(block[:4096])


def run(code: str, *arguments: object, kill_after_s: float | None = None) -> tuple[float, int, int]:
    """Seconds, peak resident bytes and exit status of Python `code` in its own process."""
    began, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])
    while process.poll() is None:
        peak = max(peak, resident_bytes(process.pid))
        if kill_after_s is not None and time.monotonic() - began > kill_after_s:
            process.send_signal(signal.SIGKILL)
            kill_after_s = None
        time.sleep(0.02)
    return time.monotonic() - began, peak, process.returncode


def resident_bytes(pid: int) -> int:
    """What a process has in memory of its own, without pages of files (Linux)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    numbers = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if "kB" in line}
    return 1024 * (int(numbers.get("RssAnon", 0)) + int(numbers.get("RssShmem", 0)))


def drop_page_cache() -> None:
    """So that every run reads from the disk; needs root."""
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")


def digest(folder: Path) -> str:
    """Of the names and contents of a folder's files."""
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.name} {content}\n".encode())
    return whole.hexdigest()


@contextmanager
def small_disk(nbytes: int) -> Iterator[Path]:
    """A file system in memory of `nbytes`; grows when remounted."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={nbytes}", "small", folder], check=True
        )
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def report(name: str, seconds: float, peak: int, idle: int, nbytes: int, status: int) -> None:
    outcome = "" if status == 0 else f"  exit status {status}"
    print(
        f"{name:12} {seconds:8.1f} s  {nbytes / 1e9 / seconds:6.3f} GB/s  "
        f"peak {(peak - idle) / 1e9:6.2f} GB{outcome}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for name, default in (("layers", 27), ("experts", 64), ("kills", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--full-disk", action="store_true")
    parser.add_argument("--skip-mlx-lm", action="store_true")
    args = parser.parse_args()
    source, ours, theirs = (args.folder / name for name in ("source", "ours", "theirs"))
    nbytes = make_source(source, v2_lite(args.layers, args.experts), write_shard)
    for path in checkpoint_path().glob("tokenizer*"):  # mlx-lm refuses to go without
        shutil.copyfile(path, source / path.name)
    _, idle, _ = run(IDLE)
    print(f"source {nbytes / 1e9:.2f} GB; Python with MLX {idle / 1e9:.2f} GB", flush=True)

    shutil.rmtree(ours, ignore_errors=True)
    drop_page_cache()
    seconds, peak, status = run(OURS, source, ours, "4bit")
    report("ours", seconds, peak, idle, nbytes, status)
    expected = digest(ours)
    if not args.skip_mlx_lm:
        shutil.rmtree(theirs, ignore_errors=True)
        drop_page_cache()
        seconds_theirs, peak, status = run(THEIRS, source, theirs)
        report("mlx-lm", seconds_theirs, peak, idle, nbytes, status)
        shutil.rmtree(theirs, ignore_errors=True)

    if args.kills:
        kill_and_resume(source, args.folder / "killed", args.kills, seconds, expected)
    if args.full_disk:
        size = sum(path.stat().st_size for path in ours.iterdir())
        with small_disk(size // 2) as disk:
            fill_and_grow(source, disk, size, expected)


def kill_and_resume(source: Path, target: Path, kills: int, seconds: float, expected: str) -> None:
    """Convert until `kills` runs have been killed at random moments after their start."""
    startup = run(IDLE)[0]
    shutil.rmtree(target, ignore_errors=True)
    draw, killed, finished, different = random.Random(1), 0, 0, 0
    while killed < kills or not finished:
        last = killed >= kills
        moment = None if last else draw.uniform(startup, startup + 0.5 * (seconds - startup))
        _, _, status = run(OURS, source, target, "4bit", kill_after_s=moment)
        killed += status == -signal.SIGKILL
        if target.exists():
            finished += 1
            different += digest(target) != expected
            shutil.rmtree(target)
    print(f"{killed} kills, {finished} conversions finished, {different} of them different")


def fill_and_grow(source: Path, disk: Path, size: int, expected: str) -> None:
    """Convert into a file system found too small only when it is full, then grown."""
    endless = "type('', (), {'free': 1 << 60})"
    blind = f"import shutil; shutil.disk_usage = lambda _: {endless}; {OURS}"
    _, _, status = run(blind, source, disk / "out", "4bit")
    kept = sum(512 * path.stat().st_blocks for path in disk.glob("out.partial/result/*"))
    subprocess.run(["mount", "-o", f"remount,size={size + (1 << 26)}", disk], check=True)
    again = run(OURS, source, disk / "out", "4bit")
    same = digest(disk / "out") == expected
    print(
        f"full disk: exit status {status} with {kept / 1e9:.2f} GB kept, then {again[0]:.1f} s: "
        f"{'identical' if same else 'DIFFERENT'}"
    )


if __name__ == "__main__":
    main()
