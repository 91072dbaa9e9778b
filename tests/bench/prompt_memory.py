"""Peak memory of reading a prompt with a whole model, short beside long.

    python tests/bench/prompt_memory.py [--kind dense sparse] [--lengths 8192 32768] [--bits 8]

Random models with MoE and V3's and V3.2's own widths per attention head (latent 512 + 64, 64
indexer heads of 128, 2048 tokens chosen), fewer of them, float32. Each prompt is read by the
engine's own loop in a fresh process; prints what the peak holds beside weights and cache, and the
ratio of the last length's to the first's. Preload a fast BLAS: long prompts take minutes.
"""

import argparse
import json
import subprocess
import sys
import time

import mlx.core as mx

from mlx_deepseek import models
from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.generation.decode import tokens
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampling
from tests.bench.shapes import V3_ROUTER

COMMON = {
    "vocab_size": 2048,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "moe_intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "n_group": 4,
    "topk_group": 2,
    **V3_ROUTER,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 256,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "max_position_embeddings": 163840,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "rope_scaling": None,
    "attention_bias": False,
    "tie_word_embeddings": False,
}
KINDS = {
    "dense": {**COMMON, "model_type": "deepseek_v3"},
    "sparse": {
        **COMMON,
        "model_type": "deepseek_v32",
        "index_head_dim": 128,
        "index_n_heads": 64,
        "index_topk": 2048,
    },
}


def measure(kind: str, length: int, bits: int | None) -> dict:
    """Bytes of weights and cache, of the peak over both, and the seconds of reading."""
    mx.random.seed(0)
    model = models.build(KINDS[kind])
    model.eval()
    mx.eval(model.parameters())
    weights = mx.get_active_memory()
    ids = mx.random.randint(0, COMMON["vocab_size"], (length,)).tolist()
    kept = PromptCache(model, bits=bits)
    request = Request(ids, 1, Sampling(temperature=0.0), frozenset())  # type: ignore[arg-type]
    began = time.perf_counter()
    *_, last = tokens(model, request, kept)
    seconds = time.perf_counter() - began
    cache = sum(layer.nbytes for layer in kept.caches)
    over = last.usage.peak_memory_bytes - weights - cache
    return {"weights": weights, "cache": cache, "over": over, "seconds": seconds}


def compare(kind: str, args: argparse.Namespace) -> None:
    """Measure every length and print."""
    over = []
    for length in args.lengths:
        command = [sys.executable, __file__, "--measure", kind, "--lengths", str(length)]
        command += ["--bits", str(args.bits)] if args.bits else []
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result = json.loads(out.stdout)
        over.append(result["over"])
        mib = [result[name] / 2**20 for name in ("weights", "cache", "over")]
        print(f"{kind:<8}{length:>8}{mib[0]:>12.0f}{mib[1]:>10.0f}{mib[2]:>12.0f}", end="")
        print(f"{result['seconds']:>10.0f} s", flush=True)
    print(f"{kind}: ratio {over[-1] / over[0]:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 32768])
    parser.add_argument("--bits", type=int, choices=(4, 8), help="of the cache")
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.lengths[0], args.bits)))
        return
    print(f"{'':<8}{'tokens':>8}{'weights MiB':>12}{'cache':>10}{'over both':>12}{'read in':>11}")
    for kind in args.kind:
        compare(kind, args)


if __name__ == "__main__":
    main()
