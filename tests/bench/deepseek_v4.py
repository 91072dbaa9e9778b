"""DeepSeek-V4 of V4-Flash's widths, 4 bits, few layers and experts: beside mlx-vlm, and by context.

    pip install mlx-vlm==0.7.10
    python tests/bench/deepseek_v4.py peer         prompt, decoding, memory, kernels, cache bytes
    python tests/bench/deepseek_v4.py context      decoding after 4k to 64k tokens, layer by layer

Both packages get models of the same shapes, random values, float32 activations on a CPU. They take
turns; the ratios of one run are all that counts. Caches of `context` are filled, not computed.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from kernels import kernels
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek import catalog, models
from mlx_deepseek.layers.compressed_attention import CompressedAttention
from mlx_deepseek.layers.step import Step
from mlx_deepseek.models.compressed_config import read_v4

RATIOS = [0, 4, 128]
SMALLER = {
    "num_hidden_layers": len(RATIOS), "compress_ratios": RATIOS, "num_nextn_predict_layers": 0,
    "num_hash_layers": 1, "n_routed_experts": 8, "vocab_size": 4096,
}  # fmt: skip
NARROW = {
    "hidden_size": 256, "num_attention_heads": 8, "head_dim": 128, "q_lora_rank": 128,
    "o_lora_rank": 64, "o_groups": 4, "moe_intermediate_size": 128, "index_n_heads": 8,
    "index_head_dim": 64,
}  # fmt: skip
PROMPT, DECODED, ROUNDS = 192, 8, 3
CONTEXTS = (4096, 16384, 65536)


def config() -> dict[str, Any]:
    """V4-Flash's, smaller."""
    entry = catalog.find("deepseek-ai/DeepSeek-V4-Flash")
    assert entry is not None
    return {**entry.config, **SMALLER}


def quantized(model: nn.Module) -> nn.Module:
    """The model with 4 bits wherever it can, one module at a time in memory."""
    model.set_dtype(mx.float32)
    nn.quantize(model, 64, 4, class_predicate=lambda path, m: hasattr(m, "to_quantized"))
    for _, module in model.named_modules():
        mx.eval([value for value in module.values() if isinstance(value, mx.array)])
    model.eval()
    return model


def peer(shape: dict[str, Any]) -> nn.Module:
    """mlx-vlm's."""
    package = "mlx_vlm.models.deepseek_v4"
    known = import_module(f"{package}.config").ModelConfig.from_dict(shape)
    return import_module(f"{package}.language").LanguageModel(known)


class Logits(nn.Module):
    """A model whose output is logits."""

    def __init__(self, model: Any):
        super().__init__()
        self.inner = model

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        out = self.inner(ids, cache=cache)
        return getattr(out, "logits", out)

    def make_cache(self) -> list[Any]:
        """The model's own."""
        return make_prompt_cache(self.inner)

    @property
    def layers(self) -> Any:
        """The model's own."""
        return self.inner.layers


def bytes_of(cache: list[Any]) -> int:
    """Bytes that a prompt's caches hold."""
    return sum(layer.nbytes for layer in cache)


def once(model: Logits) -> dict[str, float]:
    """Seconds per prompt token and per decoded token, and the peak above what was held."""
    gc.collect()
    mx.clear_cache()
    mx.reset_peak_memory()
    held, cache = mx.get_active_memory(), model.make_cache()
    began = time.perf_counter()
    token = model(mx.arange(PROMPT)[None] % 4000, cache)[:, -1:].argmax(-1)
    mx.eval(token, [layer.state for layer in cache])
    read = time.perf_counter()
    for _ in range(DECODED):
        token = model(token, cache)[:, -1:].argmax(-1)
        mx.eval(token)
    wrote = time.perf_counter()
    return {
        "prompt s/token": (read - began) / PROMPT,
        "decode s/token": (wrote - read) / DECODED,
        "peak MB": (mx.get_peak_memory() - held) / 1e6,
        "cache bytes/token": bytes_of(cache) / (PROMPT + DECODED),
    }


def beside() -> None:
    """Print each measure of both, and theirs by ours."""
    both = {
        "mlx-vlm": Logits(quantized(peer(config()))),
        "ours": Logits(quantized(models.build(config()))),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in both}
    for round_ in range(ROUNDS + 1):
        for name, model in both.items():
            taken = once(model)
            if round_:
                found[name].append(taken)
    for what in found["ours"][0]:
        theirs, ours = (statistics.median(one[what] for one in found[name]) for name in both)
        print(f"{what:<20} mlx-vlm {theirs:12.4f}   ours {ours:12.4f}   ratio {theirs / ours:6.2f}")
    counts = {name: kernels(model).total() for name, model in both.items()}
    print("kernels per token    " + ", ".join(f"{name} {count}" for name, count in counts.items()))


def filled(attention: CompressedAttention, tokens: int) -> Any:
    """A layer's cache of so many random tokens."""
    cache, known = attention.make_cache(), attention.config
    if cache.ratio:
        count = tokens // cache.ratio
        keys = mx.random.normal((1, count, cache.widths[1])) if cache.widths[1] else None
        cache.add_entries(mx.random.normal((1, count, known.dim)), keys)
    rows = {"window": mx.random.normal((1, known.window - 1, known.dim))}
    if cache.ratio:
        width = sum(pool.raw_width for pool in attention.pools)
        rows["raw"] = mx.random.normal((1, cache.ratio * (1 + cache.overlap), width))
    cache.go_on(tokens, rows)
    mx.eval(cache.state)
    return cache


def by_context() -> None:
    """Print seconds and cached bytes per decoded token and kind of layer, by tokens before it."""
    layers = read_v4(config()).layers
    kinds: Any = {
        f"ratio {ratio}" if ratio else "window": quantized(CompressedAttention(layer.attention))
        for ratio, layer in zip(RATIOS, layers, strict=True)
    }
    caches = {(n, kind): filled(kinds[kind], n) for n in CONTEXTS for kind in kinds}
    took: dict[tuple[int, str], list[float]] = {which: [] for which in caches}
    x = mx.random.normal((1, 1, config()["hidden_size"]))
    for _ in range(10 * ROUNDS):
        for which, cache in caches.items():
            took[which].append(timed(partial(kinds[which[1]], x, Step(), cache)))
    print("tokens before   " + "".join(f"{kind:>24}" for kind in kinds))
    for n in CONTEXTS:
        print(f"{n:>13}   ", end="")
        for kind in kinds:
            took_ms = statistics.median(took[n, kind][ROUNDS:]) * 1e3
            print(f"{took_ms:9.2f} ms {bytes_of([caches[n, kind]]) / 1e6:8.1f} MB", end="")
        print()


def timed(work: Callable[[], Any]) -> float:
    """Seconds to compute what `work` gives."""
    began = time.perf_counter()
    mx.eval(work())
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["peer", "context"])
    parser.add_argument("--narrow", action="store_true", help="small widths, for a slow machine")
    args = parser.parse_args()
    if args.narrow:
        SMALLER |= NARROW
    {"peer": beside, "context": by_context}[args.what]()
