"""Drafting with nano's MTP layer: same text, acceptance, and speed beside plain decoding.

    python tests/bench/mtp.py [--count 14] [--temperature 0]

Every held-out problem is answered without drafts and with 1, 3 and 5 at a time, and with as many
as pay, in turn in one process. Says whether all texts are the same, and what rejection sampling
would accept at most: the mean overlap of the two distributions, sum over tokens of min(p, q). Then
what a pass of the model takes over one and two tokens, and a draft; and what that makes possible
at best.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx

import mlx_deepseek as ds
from mlx_deepseek.cache.prompt_cache import PromptCache, trim
from mlx_deepseek.generation.decode import tokens
from mlx_deepseek.generation.drafting.mtp import MTPDrafter
from mlx_deepseek.generation.request import Request
from mlx_deepseek.nano.tasks import FAMILIES, evaluation_problems

LONGEST = 160


def answer(engine: ds.Engine, ids: list[int], drafter: Any, temperature: float) -> tuple:
    """Tokens, usage and seconds after the first token."""
    kept = PromptCache(engine.model, drafter=drafter)
    sampling = ds.Sampling(temperature=temperature, top_p=1.0, seed=5)
    stop = frozenset(engine.tokenizer.eos_token_ids)
    steps = list(tokens(engine.model, Request(ids, LONGEST, sampling, stop), kept))
    written = [step.token for step in steps if step.token is not None]
    usage = steps[-1].usage
    return written, usage, (len(written) - 1) / usage.generation_tps if len(written) > 1 else 0.0


def overlap(engine: ds.Engine, ids: list[int], written: list[int], temperature: float) -> list:
    """sum min(p, q) of model and MTP layer at each token of an answer but the first."""
    model: Any = engine.model
    whole = mx.array([ids + written])
    start = len(ids) - 1
    p = mx.softmax(model(whole)[0, start + 1 : -1] / temperature, axis=-1)
    q = mx.softmax(model.mtp_logits(whole)[0, start:-1] / temperature, axis=-1)
    return mx.minimum(p, q).sum(-1).tolist()  # type: ignore[return-value]


def run(engine: ds.Engine, count: int, temperature: float) -> None:
    """Measure and print."""
    model: Any = engine.model
    kinds = {"plain": None, **{str(depth): MTPDrafter(model, depth) for depth in (1, 3, 5)}}
    kinds["as pays"] = MTPDrafter(model)
    totals = {name: [0, 0.0, 0, 0, 0] for name in kinds}
    shared: list[float] = []
    problems = [p.question for family in FAMILIES for p in evaluation_problems(family, count)]
    for question in problems:
        ids = engine.processor.encode(question).ids
        plain = None
        for name, drafter in kinds.items():
            written, usage, seconds = answer(engine, ids, drafter, temperature)
            plain = plain or written
            new = len(written) - 1, seconds, usage.drafted_tokens, usage.accepted_tokens
            new = *new, written == plain
            totals[name] = [a + b for a, b in zip(totals[name], new, strict=True)]
        if temperature and plain and len(plain) > 2:
            shared += overlap(engine, ids, plain, temperature)
    base = totals["plain"][0] / totals["plain"][1]
    print(f"{len(problems)} prompts, temperature {temperature}")
    print(f"{'drafts':<10}{'same text':>12}{'accepted':>10}{'tokens/s':>10}{'ratio':>8}")
    for name, (count, seconds, drafted, accepted, same) in totals.items():
        rate, speed = accepted / drafted if drafted else 0.0, count / seconds
        print(f"{name:<10}{same:>12}{rate:>10.3f}{speed:>10.1f}{speed / base:>8.2f}")
    if shared:
        print(f"rejection sampling of one draft would accept {sum(shared) / len(shared):.3f}")


def passes(engine: ds.Engine, held: int = 100, times: int = 200) -> None:
    """Print what the parts of a round take, `held` tokens in the cache, and the speed-ups."""
    model: Any = engine.model
    drafter = MTPDrafter(model, 1)
    kept = PromptCache(model, drafter=drafter)
    ids = mx.zeros((1, held), mx.int32)
    drafter.draft(drafter.forward(model, ids, kept.layers)[1], ids, 0, None, kept.drafts)
    kept.evaluate()

    def shortest_ms(compute: Callable[[], mx.array]) -> float:
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            mx.eval(compute())
            seconds.append(time.perf_counter() - began)
            trim(kept.caches, held)
        return 1000 * min(seconds)

    def draft() -> mx.array:
        state = drafter.layer.predict(hidden, ids[:, :2], kept.drafts[0])[:, -1:]
        return mx.argmax(drafter.layer.shared_head(state), axis=-1)

    hidden = model.hidden(ids[:, :2])
    mx.eval(hidden)
    one, two = (
        shortest_ms(lambda n=n: mx.argmax(model(ids[:, :n], cache=kept.layers), axis=-1))
        for n in (1, 2)
    )
    drafted = shortest_ms(draft)
    print(f"a pass over one token {one:.2f} ms, over two {two:.2f} ms; a draft {drafted:.2f} ms")
    print(f"every draft right, at best {2 * one / (two + drafted):.2f} times as fast;", end=" ")
    print(f"were the second token free {2 * one / (one + drafted):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=14, help="problems per family")
    parser.add_argument("--temperature", type=float, default=0.0)
    args = parser.parse_args()
    engine = ds.load("nano")
    engine._worker.call(run, engine, args.count, args.temperature)
    engine._worker.call(passes, engine)


if __name__ == "__main__":
    main()
