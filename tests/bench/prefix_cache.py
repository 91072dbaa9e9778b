"""Time to first token of a second question about a document: unread, from memory, after a restart.

    python tests/bench/prefix_cache.py [--document 8192] [--tokens 16]

A random V3-shaped model in float32 reads a document and question A, and stores the cache. Question
B is then answered three ways: by reading all again, from the store's memory, and from its files in
a new process (they may still be in the system's file cache). Prints seconds, ratios, bytes, whether
all three answer with the same tokens, and max |a - b| / std(b) of the first token's logits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlx.core as mx

from mlx_deepseek import models
from mlx_deepseek.cache.prefix_cache import PrefixCache
from tests.bench.shapes import V3_ROUTER

PIECE = 256  # tokens read at a time, as on a CPU
QUESTION = 48  # tokens
MEMORY_BYTES = 1 << 30
CONFIG = {
    "model_type": "deepseek_v3",
    "vocab_size": 2048,
    "hidden_size": 128,
    "intermediate_size": 352,
    "moe_intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "n_group": 4,
    "topk_group": 2,
    **V3_ROUTER,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "max_position_embeddings": 16384,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "rope_scaling": None,
    "attention_bias": False,
    "tie_word_embeddings": False,
}


def random_model():
    """The same model in every process."""
    mx.random.seed(0)
    model = models.build(CONFIG)
    model.eval()
    mx.eval(model.parameters())
    return model


def prompt(document: int, question: int) -> list[int]:
    """A document's tokens and a question's."""
    text = mx.random.randint(0, CONFIG["vocab_size"], (document,), key=mx.random.key(1))
    asked = mx.random.randint(0, CONFIG["vocab_size"], (QUESTION,), key=mx.random.key(question))
    return text.tolist() + asked.tolist()


def answer(model, store: PrefixCache | None, ids: list[int], tokens: int) -> dict:
    """Greedy tokens, the first one's logits, and the seconds until it came."""
    start = time.perf_counter()
    layers = model.make_cache()
    cached = store.restore(ids, layers, limit=len(ids) - 1) if store else 0
    restore_s = time.perf_counter() - start
    for at in range(cached, len(ids), PIECE):
        logits = model(mx.array([ids[at : at + PIECE]]), cache=layers)[0, -1]
        mx.eval(logits, [layer.state for layer in layers])
    chosen = [int(logits.argmax())]
    first_s = time.perf_counter() - start
    first_logits = logits.tolist()
    store_s, stored = 0.0, 0
    if store:
        start = time.perf_counter()
        stored = store.store(ids, layers)
        store_s = time.perf_counter() - start
    while len(chosen) < tokens:
        chosen.append(int(model(mx.array([chosen[-1:]]), cache=layers)[0, -1].argmax()))
    return {
        "tokens": chosen,
        "logits": first_logits,
        "first_s": first_s,
        "restore_s": restore_s,
        "store_s": store_s,
        "cached": cached,
        "stored": stored,
    }


def compare(args: argparse.Namespace, folder: Path) -> None:
    """Run all and print."""
    model = random_model()
    mx.eval(model(mx.array([prompt(PIECE, 0)])))  # warm up
    store = PrefixCache("bench", memory_bytes=MEMORY_BYTES, folder=folder)
    question_a, question_b = prompt(args.document, 2), prompt(args.document, 3)
    first = answer(model, store, question_a, args.tokens)
    print(
        f"question A: first token after {first['first_s']:.2f} s; {first['stored']} blocks stored "
        f"in {first['store_s']:.2f} s, {store.memory_nbytes / 2**20:.1f} MiB in memory, "
        f"{store.folder_nbytes / 2**20:.1f} MiB on disk\n"
    )
    runs = {
        "nothing stored": answer(model, None, question_b, args.tokens),
        "from memory": answer(model, store, question_b, args.tokens),
        "from disk, restarted": restarted(args, folder),
    }
    unread = runs["nothing stored"]
    deviation = float(mx.std(mx.array(unread["logits"])))
    columns = f"{'cached':>8}{'restore':>10}{'first':>10}{'ratio':>8}{'tokens':>11}{'logits':>9}"
    print(f"{'question B':<22}{columns}")
    for name, run in runs.items():
        apart = mx.abs(mx.array(run["logits"]) - mx.array(unread["logits"])).max()
        print(
            f"{name:<22}{run['cached']:>8}{run['restore_s']:>8.3f} s{run['first_s']:>8.3f} s"
            f"{unread['first_s'] / run['first_s']:>8.1f}"
            f"{'same' if run['tokens'] == unread['tokens'] else 'DIFFERENT':>11}"
            f"{float(apart) / deviation:>9.0e}"
        )


def restarted(args: argparse.Namespace, folder: Path) -> dict:
    """Question B in a new process, which finds the files of this one."""
    command = [sys.executable, __file__, "--folder", str(folder)]
    command += ["--document", str(args.document), "--tokens", str(args.tokens)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--document", type=int, default=8192, help="tokens")
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        model = random_model()
        mx.eval(model(mx.array([prompt(PIECE, 0)])))
        store = PrefixCache("bench", memory_bytes=MEMORY_BYTES, folder=args.folder)
        print(json.dumps(answer(model, store, prompt(args.document, 3), args.tokens)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


if __name__ == "__main__":
    main()
