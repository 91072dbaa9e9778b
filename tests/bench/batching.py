"""Streams at once beside mlx-lm's BatchGenerator: same checkpoint, one process, rounds in turn.

    python tests/bench/batching.py [--streams 1 4 16] [--tokens 64] [--rounds 3] [--prefix 2048]

Each round, both are given as many prompts at once as there are streams: of 64 tokens; or of
`--prefix` tokens that all share, and 64 of their own, the prefix being new, or known from a request
before. mlx-lm's caches come from its LRUPromptCache, as in its server. Prints tokens per second and
seconds to the first token (median, p95), medians of the rounds; and the medians of their ratios,
of speed and of processor time, which other work on the machine hardly changes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import LRUPromptCache, make_prompt_cache
from mlx_lm.utils import load_model as load_theirs

from mlx_deepseek import Caching
from mlx_deepseek.checkpoint.load import load_prepared, prepare
from mlx_deepseek.engine.caching import Caches
from mlx_deepseek.generation.job import END, Generation, Mailbox, TokenSink
from mlx_deepseek.generation.request import GeneratedToken, Request
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.generation.scheduler import Scheduler

OWN_TOKENS = 64
Prompts = list[list[int]]
# Seconds in all, and to the first token of each stream.
Times = tuple[float, list[float]]


class Ours:
    """The scheduler with the engine's caches."""

    def __init__(self, folder: str):
        self.loaded = load_prepared(prepare(folder))
        self.reset()

    def reset(self) -> None:
        """Forget all prompts."""
        caches = Caches(self.loaded, Caching(speculate=0))
        self.scheduler = Scheduler(self.loaded.model, caches)

    def run(self, prompts: Prompts, tokens: int) -> Times:
        """Write `tokens` tokens for each prompt."""
        mailbox, first = Mailbox(), {}
        sampling = Sampling(temperature=0.0)
        began = time.perf_counter()
        for ids in prompts:
            request = Request(ids, tokens, sampling, frozenset())
            self.scheduler.submit(Generation(request, TokenSink(), None, mailbox))
        ends = 0
        while ends < len(prompts):
            self.scheduler.tick()
            while mailbox.items:
                job, item = mailbox.items.popleft()
                ends += item is END
                if isinstance(item, GeneratedToken) and item.token is not None:
                    first.setdefault(job.number, time.perf_counter() - began)
        return time.perf_counter() - began, list(first.values())


class Theirs:
    """mlx-lm's BatchGenerator with its server's prompt cache."""

    def __init__(self, folder: Path):
        self.model, _ = load_theirs(folder)
        self.model.set_dtype(mx.float32)
        mx.eval(self.model.parameters())
        self.reset()

    def reset(self) -> None:
        """Forget all prompts."""
        self.cache = LRUPromptCache()

    def run(self, prompts: Prompts, tokens: int) -> Times:
        """Write `tokens` tokens for each prompt."""
        began = time.perf_counter()
        generator = BatchGenerator(self.model, completion_batch_size=32, prefill_batch_size=8)
        caches, rests, names = [], [], {}
        for ids in prompts:
            cache, rest = self.cache.fetch_nearest_cache("model", ids)
            caches.append(cache or make_prompt_cache(self.model))
            rests.append(rest if cache else ids)
        uids = generator.insert(rests, [tokens] * len(prompts), caches=caches)
        names = dict(zip(uids, prompts, strict=True))
        first: dict[int, float] = {}
        ends = 0
        while ends < len(prompts):
            for response in generator.next_generated():
                first.setdefault(response.uid, time.perf_counter() - began)
                if response.finish_reason:
                    ends += 1
                    ids = [*names[response.uid], *response.all_tokens[-tokens:]]
                    self.cache.insert_cache("model", ids, response.prompt_cache)
        generator.close()
        return time.perf_counter() - began, list(first.values())


def prompts_of(streams: int, shared: list[int], seed: int, vocabulary: int) -> Prompts:
    """Prompts with the same beginning, and ends of their own."""
    shape = streams, OWN_TOKENS
    ends = mx.random.randint(5, vocabulary, shape, key=mx.random.key(seed)).tolist()
    return [[*shared, *end] for end in ends]


def p95(values: list[float]) -> float:
    """The value that one in twenty exceeds."""
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


def compare(name: str, both: dict, make: Callable[[int], Prompts], warm: list[int], args) -> None:
    """Both in turn, `rounds` times; the caches are emptied before each."""
    found: dict[str, list[tuple[float, ...]]] = {"ours": [], "mlx-lm": []}
    for number in range(args.rounds + 1):
        order = list(both.items())[:: 1 if number % 2 else -1]
        for who, one in order:
            one.reset()
            prompts = make(number)
            if warm:
                one.run([[*warm, *prompts[0][len(warm) :][:8]]], 2)
            before = time.process_time()
            seconds, first = one.run(prompts, args.tokens)
            used = time.process_time() - before
            if number:  # the first round warms up
                speed = len(prompts) * args.tokens / seconds
                found[who].append((speed, statistics.median(first), p95(first), used))
    ratios = [a[0] / b[0] for a, b in zip(found["ours"], found["mlx-lm"], strict=True)]
    cells = []
    for who in found:
        middle = [statistics.median(column) for column in zip(*found[who], strict=True)]
        cells.append(f"{middle[0]:9.1f} {middle[1]:7.2f} {middle[2]:7.2f}")
    used = [b[3] / a[3] for a, b in zip(found["ours"], found["mlx-lm"], strict=True)]
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    ends = f"{statistics.median(ratios):5.2f} ({spread}) {statistics.median(used):5.2f}"
    print(f"{name:<26}{'  |'.join(cells)}  | {ends}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefix", type=int, default=2048)
    args = parser.parse_args()
    ours = Ours(args.model)
    both = {"ours": ours, "mlx-lm": Theirs(ours.loaded.folder)}
    vocabulary = 500
    shared = mx.random.randint(5, vocabulary, (args.prefix,), key=mx.random.key(0)).tolist()
    print(f"{'':<26}{'ours: t/s':>9} {'first':>7} {'p95':>7}  |{'mlx-lm':>9}{'':>16}  | ", end="")
    print("ratio (range)  processor")
    for streams in args.streams:

        def make(seed: int, begins: list[int], streams: int = streams) -> Prompts:
            return prompts_of(streams, begins, seed, vocabulary)

        compare(f"{streams} streams", both, lambda s: make(s, []), [], args)
        compare(f"{streams}, new prefix", both, lambda s: make(s, shared), [], args)
        compare(f"{streams}, known prefix", both, lambda s: make(s, shared), shared, args)


if __name__ == "__main__":
    main()
