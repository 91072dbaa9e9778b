"""Attention per decoded token, dense beside sparse, and the peak of reading a long prompt.

    python tests/bench/attention.py [--heads 32] [--cached 1024 4096 16384 32768]

One layer of V3.2's own widths (latent 512 + 64, 64 indexer heads of 128, 2048 tokens chosen), fewer
attention heads, random weights. Prints milliseconds on this machine and, computed, the bytes that
one layer of V3.2 itself reads from its cache and the multiplications it makes; then the peak memory
over weights and cache of a prompt read in pieces, short and long.
"""

import argparse
import statistics
import time

import mlx.core as mx

from mlx_deepseek.layers.indexer import IndexerConfig
from mlx_deepseek.layers.mla import MLAConfig, SplitLatentAttention
from mlx_deepseek.layers.rope import RopeConfig

TOPK, RANK, ROPE, INDEX_HEADS, INDEX_DIM, HEADS = 2048, 512, 64, 64, 128, 128
BF16 = 2


def layer(heads: int, sparse: bool, hidden: int = 1024) -> SplitLatentAttention:
    """V3.2's attention with fewer heads and a narrower model."""
    rope = RopeConfig(ROPE)
    indexer = IndexerConfig(
        hidden, 512, INDEX_HEADS, INDEX_DIM, TOPK, RopeConfig(ROPE, interleaved=False)
    )
    config = MLAConfig(hidden, heads, 512, RANK, 128, 128, rope, indexer=indexer)
    attention = SplitLatentAttention(config)
    for name in ("embed_q", "unembed_out"):
        attention[name].weight = mx.random.normal(attention[name].weight.shape) * 0.05
    attention.sparse = sparse
    mx.eval(attention.parameters())
    return attention


def decode_s(attention: SplitLatentAttention, cached: int, bits: int | None, rounds: int) -> float:
    """Median seconds of one token's attention."""
    cache = attention.make_cache()
    rows, index_keys = mx.random.normal((1, 1, cached, RANK + ROPE)), attention.row_widths[2]
    cache.update_and_fetch(rows, mx.random.normal((1, 1, cached, index_keys)))
    cache = cache if bits is None else cache.to_quantized(bits=bits)
    mx.eval(cache.state)
    times = []
    for _ in range(rounds + 1):
        x = mx.random.normal((1, 1, 1024))
        mx.eval(x)
        began = time.perf_counter()
        mx.eval(attention(x, None, cache), cache.state)
        times.append(time.perf_counter() - began)
        cache.trim(1)
    return statistics.median(times[1:])


def costs(cached: int, sparse: bool) -> tuple[float, float]:
    """Bytes read (bfloat16 cache) and multiplications of one layer of V3.2, per decoded token."""
    seen = min(cached, TOPK) if sparse else cached
    read = seen * (RANK + ROPE) * BF16
    products = HEADS * seen * (2 * RANK + ROPE)
    if sparse:
        read += cached * INDEX_DIM * BF16
        products += INDEX_HEADS * cached * INDEX_DIM if cached > TOPK else 0
    return read, products


def prompt_peak(heads: int, sparse: bool, length: int, piece: int) -> int:
    """Bytes at the peak of reading `length` tokens in pieces, over weights and cache."""
    attention = layer(heads, sparse)
    cache = attention.make_cache()
    mx.reset_peak_memory()
    start = mx.get_active_memory()
    for begin in range(0, length, piece):
        x = mx.random.normal((1, min(piece, length - begin), 1024))
        mx.eval(attention(x, "causal", cache), cache.state)
        mx.clear_cache()
    return mx.get_peak_memory() - start - cache.nbytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--cached", type=int, nargs="+", default=[1024, 4096, 16384, 32768])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--piece", type=int, default=256)
    args = parser.parse_args()
    kinds = {"dense": layer(args.heads, False), "sparse": layer(args.heads, True)}
    print(f"one layer, {args.heads} heads, float32; computed: V3.2's {HEADS} heads, bfloat16 cache")
    print(f"{'cached':>8}{'dense ms':>10}{'sparse ms':>11}", end="")
    print(f"{'dense MB':>10}{'sparse MB':>11}{'dense Mmul':>12}{'sparse Mmul':>13}")
    for cached in args.cached:
        times = [decode_s(a, cached, None, args.rounds) * 1e3 for a in kinds.values()]
        computed = [costs(cached, sparse) for sparse in (False, True)]
        print(f"{cached:>8}{times[0]:>10.1f}{times[1]:>11.1f}", end="")
        print(f"{computed[0][0] / 1e6:>10.1f}{computed[1][0] / 1e6:>11.1f}", end="")
        print(f"{computed[0][1] / 1e6:>12.0f}{computed[1][1] / 1e6:>13.0f}")
    for name, sparse in (("dense", False), ("sparse", True)):
        short, long = (prompt_peak(args.heads, sparse, n, args.piece) for n in (8192, 32768))
        print(f"{name} prompt, peak over weights and cache: 8k {short / 2**20:.0f} MiB, ", end="")
        print(f"32k {long / 2**20:.0f} MiB, ratio {long / short:.2f}")


if __name__ == "__main__":
    main()
