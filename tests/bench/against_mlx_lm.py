"""Prefill and decode beside mlx-lm: same checkpoint, same run, alternating processes.

    python tests/bench/against_mlx_lm.py [--shape v2] [--prompt 256] [--tokens 32] [--rounds 3]

Writes random 4-bit checkpoints shaped like V2 and V3 (narrower, fewer layers) in mlx-lm's format,
then loads and runs each with both, a fresh process per measurement. Prints the medians, and the
median of the round-by-round ratios; a ratio above 1 in speed, below 1 in memory, favours us.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

YARN = {
    "beta_fast": 32,
    "beta_slow": 1,
    "factor": 40,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096,
    "type": "yarn",
}
COMMON = {
    "vocab_size": 8192,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "moe_intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "n_routed_experts": 32,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
    "max_position_embeddings": 16384,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "rope_scaling": YARN,
    "attention_bias": False,
    "tie_word_embeddings": False,
}
SHAPES = {
    "v2": {
        **COMMON,
        "model_type": "deepseek_v2",
        "q_lora_rank": None,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "greedy",
        "scoring_func": "softmax",
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
    },
    "v3": {
        **COMMON,
        "model_type": "deepseek_v3",
        "q_lora_rank": 512,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "n_group": 8,
        "topk_group": 4,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
    },
}


def write_checkpoint(config: dict, folder: Path) -> None:
    """A 4-bit checkpoint with random weights, made by mlx-lm's own classes and writer."""
    import mlx.core as mx
    from mlx_lm.utils import quantize_model, save_config, save_model

    module = import_module(f"mlx_lm.models.{config['model_type']}")
    model = module.Model(module.ModelArgs.from_dict(config))
    model.set_dtype(mx.bfloat16)
    model, quantized = quantize_model(model, config, group_size=64, bits=4)
    save_model(folder, model)
    save_config(quantized, folder / "config.json")


def load(engine: str, folder: Path, dtype: str):
    """The model, by mlx-lm's loader or by ours, with activations in `dtype`."""
    import mlx.core as mx

    if engine == "mlx-lm":
        from mlx_lm.utils import load_model

        model, _ = load_model(folder)
        model.set_dtype(getattr(mx, dtype))
    else:
        from mlx_deepseek.checkpoint.load_weights import load_model as ours

        model, _ = ours(folder, dtype=getattr(mx, dtype))
    mx.eval(model.parameters())
    return model


def measure(engine: str, folder: Path, prompt: int, tokens: int, dtype: str) -> dict:
    """Seconds and bytes of one prefill and `tokens` greedy decode steps, after a short warm-up."""
    import time

    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    model = load(engine, folder, dtype)
    ids = mx.random.randint(0, 8192, (1, prompt), key=mx.random.key(0))
    warm = make_prompt_cache(model)
    for length in (8, 1):
        mx.eval(model(ids[:, :length], cache=warm))
    cache = make_prompt_cache(model)
    mx.reset_peak_memory()

    start = time.perf_counter()
    token = model(ids, cache=cache)[:, -1:].argmax(-1)
    mx.eval(token)
    prefill_s = time.perf_counter() - start

    start = time.perf_counter()
    for _ in range(tokens):
        token = model(token, cache=cache)[:, -1:].argmax(-1)
        mx.eval(token)
    decode_s = time.perf_counter() - start

    # Bytes of the tokens held, not of the steps in which the buffers grow.
    held = sum(a.nbytes * c.offset // a.shape[2] for c in cache for a in (c.keys, c.values))
    return {
        "prefill tokens/s": prompt / prefill_s,
        "decode tokens/s": tokens / decode_s,
        "peak MiB": mx.get_peak_memory() / 2**20,
        "cache bytes/token": held / (prompt + tokens),
    }


def compare(shape: str, args: argparse.Namespace, folder: Path) -> None:
    """Run both engines `rounds` times in turn and print medians and ratios."""
    runs: dict[str, list[dict]] = {"mlx-lm": [], "ours": []}
    for _ in range(args.rounds):
        for engine, results in runs.items():
            command = [sys.executable, __file__, "--measure", engine, "--folder", str(folder)]
            command += ["--prompt", str(args.prompt), "--tokens", str(args.tokens)]
            command += ["--dtype", args.dtype]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(out.stdout))
    print(f"\n{shape}-shaped, prompt {args.prompt}, {args.tokens} tokens, {args.dtype}")
    print(f"{'':<20}{'mlx-lm':>12}{'ours':>12}{'ratio':>8}")
    for figure in runs["ours"][0]:
        theirs, ours = ([r[figure] for r in runs[e]] for e in ("mlx-lm", "ours"))
        ratio = statistics.median(b / a for a, b in zip(theirs, ours, strict=True))
        medians = statistics.median(theirs), statistics.median(ours)
        print(f"{figure:<20}{medians[0]:>12.1f}{medians[1]:>12.1f}{ratio:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32", help="of activations; bfloat16 on a GPU")
    parser.add_argument("--measure", choices=["mlx-lm", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        figures = measure(args.measure, args.folder, args.prompt, args.tokens, args.dtype)
        print(json.dumps(figures))
        return
    for shape in args.shape or SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(SHAPES[shape], Path(folder))
            compare(shape, args, Path(folder))


if __name__ == "__main__":
    main()
