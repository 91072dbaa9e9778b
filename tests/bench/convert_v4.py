"""Converting a slice of DeepSeek-V4-Flash: speed, memory, killed and resumed, each value compared.

    python tests/bench/convert_v4.py FOLDER [--layers 3] [--experts 256] [--vocab N] [--kills 3]

Writes FOLDER/source, a release of V4-Flash's own widths with random FP8 and FP4 (3 layers of 256
experts: 13 GB), converts it by the recipe `original`, once alone and once killed with
`kill -9` at random moments and started again, and compares every FP8 and FP4 value, and every
scale, with the release's. Peak memory as in convert_v2_lite.py.
"""

import argparse
import random
import shutil
import signal
from pathlib import Path

import numpy as np
from convert_v2_lite import IDLE, OURS, Entries, digest, drop_page_cache, make_source, report, run

from mlx_deepseek import catalog
from mlx_deepseek.checkpoint.safetensors_header import DTYPES, build_header
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.source.checkpoint import open_source
from tests.convert.exact_codes import checked_codes

RATIOS = (4, 128, 0)
CHUNK, POOL = 1 << 25, 1 << 27
NAN = 0x7F  # of e4m3, with either sign


def slice_of_flash(layers: int, experts: int, vocab: int) -> dict:
    """V4-Flash's config with fewer layers, of all kinds, and without an MTP layer."""
    entry = catalog.find("deepseek-ai/DeepSeek-V4-Flash")
    assert entry is not None
    ratios = [RATIOS[layer % len(RATIOS)] for layer in range(layers)]
    less = {"num_hidden_layers": layers, "compress_ratios": ratios, "num_nextn_predict_layers": 0}
    less |= {"n_routed_experts": experts, "vocab_size": vocab, "num_hash_layers": 1}
    return {**entry.config, **less}


def write_values(path: Path, entries: Entries, seed: int) -> None:
    """Random values that are finite in each tensor's own type."""
    header, _ = build_header(entries, {"format": "pt"})
    draw = np.random.default_rng(seed)
    pool = np.frombuffer(draw.bytes(POOL), np.uint8)
    with path.open("wb") as file:
        file.write(header)
        for dtype, shape in entries.values():
            left = int(np.prod(shape)) * DTYPES[dtype].nbytes
            while left:
                count = min(left, CHUNK)
                start = 8 * int(draw.integers(0, (POOL - count) // 8))
                file.write(finite(pool[start : start + count], dtype).tobytes())
                left -= count


def finite(codes: np.ndarray, dtype: str) -> np.ndarray:
    """Random bytes as numbers of a type: small ones, and neither NaN nor infinite."""
    if dtype == "I64":
        return codes.view(np.int64) & 0x7  # an expert's number
    if dtype == "F8_E8M0":
        return codes % 16 + 112
    if dtype == "F8_E4M3":
        return np.where(codes & NAN == NAN, 0, codes)
    if dtype in ("BF16", "F32"):
        wide = codes.view(np.uint16 if dtype == "BF16" else np.uint32)
        keep, exponent = (0x807F, 0x3C80) if dtype == "BF16" else (0x807FFFFF, 0x3C800000)
        return wide & keep | exponent
    return codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for name, default in (("layers", 3), ("experts", 256), ("vocab", 129_280), ("kills", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    source, alone, killed = (args.folder / name for name in ("source", "alone", "killed"))
    nbytes = make_source(
        source, slice_of_flash(args.layers, args.experts, args.vocab), write_values
    )
    startup, idle, _ = run(IDLE)
    print(f"source {nbytes / 1e9:.2f} GB; Python with MLX {idle / 1e9:.2f} GB", flush=True)
    drop_page_cache()
    seconds, peak, status = run(OURS, source, alone, "original")
    report("original", seconds, peak, idle, nbytes, status)
    expected = digest(alone)
    shutil.rmtree(alone)
    draw, kills = random.Random(1), 0
    while not killed.exists():
        moment = draw.uniform(startup, startup + seconds / 2) if kills < args.kills else None
        _, _, status = run(OURS, source, killed, "original", kill_after_s=moment)
        kills += status == -signal.SIGKILL
    same = "the same files" if digest(killed) == expected else "DIFFERENT FILES"
    print(f"killed {kills} times, then finished: {same}", flush=True)
    checked = checked_codes(make_plan(open_source(source), "original"), killed)
    print(f"{checked:,} FP8 and FP4 values and their scales compared: none differs")


if __name__ == "__main__":
    main()
