"""The latent cache in bfloat16, 8 and 4 bits on nano: bytes, divergence, flips, greedy agreement.

    python tests/bench/cache_bits.py [--count 8]

Teacher-forced over the replies to held-out problems: KL divergence of the next token's distribution
from that with a bfloat16 cache, and how often the likeliest token is another one. Free-running:
greedy answers, and how many of their tokens come before the first difference. Then mlx-lm's own
model and `kv_bits` on the same checkpoint.
"""

import argparse
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_model

import mlx_deepseek as ds
from mlx_deepseek.layers import latent_cache
from mlx_deepseek.nano.tasks import FAMILIES, evaluation_problems
from mlx_deepseek.nano.text.evaluate import Coder, _conversation

LONGEST = 120


class Rounded(latent_cache.KVCache):
    """Rows as a GPU keeps them, in bfloat16."""

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        return super().update_and_fetch(keys.astype(mx.bfloat16).astype(mx.float32), values)


def caches(model: Any, bits: int | None) -> list[Any]:
    """Empty caches of one kind."""
    plain = model.make_cache()
    if bits is None:
        return [Rounded(*cache.widths) for cache in plain]
    return [cache.to_quantized(bits=bits) for cache in plain]


def row_bytes(model: Any, bits: int | None) -> int:
    """Bytes per token over all layers."""
    widths = [layer.self_attn.row_widths for layer in model.layers]
    if bits is None:
        return sum(2 * sum(width) for width in widths)
    return sum(latent_cache.cache_format(*width, bits).nbytes for width in widths)


def forced(model: Any, rows: list[tuple[list[int], list[int]]], bits: int | None) -> mx.array:
    """Log-probabilities [tokens, vocab] at every token of the replies."""
    out = []
    for head, tail in rows:
        logits = model(mx.array([head + tail]), cache=caches(model, bits))[0, len(head) - 1 : -1]
        out.append(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
        mx.eval(out[-1])
    return mx.concatenate(out)


def greedy(model: Any, head: list[int], bits: int | None) -> list[int]:
    """A greedy answer."""
    steps = generate_step(
        mx.array(head), model, max_tokens=LONGEST, prompt_cache=caches(model, bits)
    )
    out: list[int] = []
    for token, _ in steps:
        out.append(int(token))
        if token == 1:
            break
    return out


def agreeing(a: list[int], b: list[int]) -> int:
    """Tokens before the first difference."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))


def measure(engine: ds.Engine, count: int) -> None:
    """Print the table."""
    model: Any = engine.model
    coder = Coder(engine.encode, lambda ids: engine.tokenizer.decode(ids))
    problems = [p for family in FAMILIES for p in evaluation_problems(family, count)]
    rows = [_conversation(coder, problem) for problem in problems]
    reference = forced(model, rows, None)
    answers = [greedy(model, head, None) for head, _ in rows]
    total = sum(map(len, answers))
    print(f"{len(reference)} forced tokens, {total} free-running tokens")
    print(f"{'cache':<8}{'bytes/token':>12}{'ratio':>8}{'KL':>10}{'flips':>8}{'agreeing':>10}")
    for bits in (None, 8, 4):
        logprobs = forced(model, rows, bits)
        kl = (mx.exp(reference) * (reference - logprobs)).sum(-1).mean().item()
        flips = (reference.argmax(-1) != logprobs.argmax(-1)).sum().item()
        agree = sum(
            agreeing(a, greedy(model, head, bits))
            for a, (head, _) in zip(answers, rows, strict=True)
        )
        size, full = row_bytes(model, bits), row_bytes(model, None)
        name = f"{bits} bits" if bits else "bf16"
        print(f"{name:<8}{size:>12}{size / full:>8.3f}{kl:>10.1e}{flips:>8}{agree / total:>10.3f}")
    theirs, _ = load_model(ds.load("nano").folder)
    theirs.set_dtype(mx.float32)
    for bits in (8, 4):
        try:
            options = {"kv_bits": bits, "kv_group_size": 32, "quantized_kv_start": 0}
            list(generate_step(mx.array(rows[0][0]), theirs, max_tokens=4, **options))
            print(f"mlx-lm kv_bits {bits}: runs")
        except Exception as error:  # whatever mlx-lm raises is the result
            print(f"mlx-lm kv_bits {bits}: {type(error).__name__}: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8, help="problems per family")
    args = parser.parse_args()
    engine = ds.load("nano", dtype="float32")
    engine._worker.call(measure, engine, args.count)


if __name__ == "__main__":
    main()
