"""Rank 0 of a group of processes, which does what it reads from its input, a JSON object a line.

MLX lets a process be in one ring, once; so each ring of the tests has a process like this one.
"""

import hashlib
import json
import sys
from argparse import Namespace
from dataclasses import asdict
from typing import Any

import mlx.core as mx
import numpy as np

import mlx_deepseek as ds
from mlx_deepseek.commands.bench import measure
from mlx_deepseek.commands.hosts import check, machine_rows, split_rows
from mlx_deepseek.commands.info import several
from mlx_deepseek.generation.job import END, Generation, Mailbox, TokenSink
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampling

V4 = ["deepseek_v4_fp4", "deepseek_v4_vision", "deepseek_v41"]  # a draft of one token, blocks
GREEDY = {"temperature": 0.0}
SEEDED = {"temperature": 0.8, "top_p": 0.9, "seed": 5}
# Of several lengths: read in one pass, padded in a batch, ended at different times.
PROMPTS = [[7, 3, 99, 12, 5, 41], [8, 8, 1], list(range(20, 60))]
QUESTION = "What is 347 + 586?"


def tokens(
    engine: Any,
    prompts: list[list[int]],
    count: int,
    sampling: dict[str, Any],
    drafted: list[int] | None = None,
) -> list[list[int]]:
    """What a model writes after several prompts at once; goldens have no tokenizer.

    `drafted` is filled with how many drafts there were after each token.
    """
    mailbox = Mailbox()
    requests = [Request(ids, count, Sampling(**sampling), frozenset()) for ids in prompts]
    jobs = [Generation(request, TokenSink(), mailbox=mailbox) for request in requests]
    found: dict[int, list[int]] = {job.number: [] for job in jobs}
    for job, item in engine._dispatcher.together(iter(jobs), mailbox, 16):
        if item is not END and getattr(item, "token", None) is not None:
            found[job.number].append(item.token)
            if drafted is not None:
                drafted.append(item.usage.drafted_tokens)
    return [found[number] for number in sorted(found)]


def pictured(engine: Any, ids: list[int]) -> list[float]:
    """The last logits of a prompt in which -1 - t is a picture's slot of type t."""

    def run() -> list[float]:
        numbers = mx.array([ids])
        embeddings = engine.model.embed(mx.maximum(numbers, 0))
        seen = embeddings + mx.where(numbers < 0, 0.25, 0.0)[..., None]
        return np.array(engine.model(numbers, input_embeddings=seen)[0, -1]).tolist()

    return engine._worker.call(run)


def drawn(engine: Any, prompt: str, seed: int) -> list[str]:
    """Digests of two pictures of a text."""
    *_, last = engine.draw(prompt, n=2, seed=seed)
    return [hashlib.sha256(one.image.tobytes()).hexdigest() for one in last.pictures]


def read(engine: Any, files: list[str]) -> list[str]:
    """The text of each picture."""
    return [page.text for page in engine.read(*files, batch=2) if page.finish]


def load(ring, goldens_root, case, **options):
    return ring("load", source=str(goldens_root / case), dtype="float32", **options)


class Rank0:
    """One engine at a time."""

    def __init__(self, hosts: str):
        self.hosts_file, self.engine = hosts, None

    def load(self, source: str, caching: dict[str, Any] | None = None, **options: Any) -> Any:
        """Load a model; the layers of this rank by their classes."""
        if self.engine is not None:
            self.engine.close()
        self.engine = None
        chosen = ds.Caching(**(caching or {}))
        self.engine = ds.load(source, hosts=self.hosts_file, caching=chosen, **options)
        return [type(layer).__name__ for layer in self.engine.model.layers]

    def tokens(self, **asked: Any) -> Any:
        """As the function."""
        self.drafted = [0]
        return tokens(self.engine, **asked, drafted=self.drafted)

    def drafts(self) -> Any:
        """How many tokens were drafted for the last prompts."""
        return max(self.drafted)

    def pictured(self, ids: list[int]) -> Any:
        """As the function."""
        return pictured(self.engine, ids)

    def drawn(self, **asked: Any) -> Any:
        """As the function."""
        return drawn(self.engine, **asked)

    def read(self, files: list[str]) -> Any:
        """As the function."""
        return read(self.engine, files)

    def logits(self, ids: list[int]) -> Any:
        """Of a prompt."""
        return np.array(self.engine.logits(ids)).tolist()  # type: ignore[union-attr]

    def text(self, prompt: str, **options: Any) -> Any:
        """An answer, and what drafting did for it."""
        done = self.engine.generate(prompt, **options)  # type: ignore[union-attr]
        return {
            "text": done.text,
            "reasoning": done.reasoning,
            "drafted": done.usage.drafted_tokens,
        }

    def begin(self, ids: list[int]) -> Any:
        """Begin an answer that takes long; returns after its first token."""
        request = Request(ids, 4000, Sampling(temperature=0.0), frozenset())
        self.stream = self.engine._dispatcher.stream(Generation(request, TokenSink()))  # type: ignore[union-attr]
        return next(one.token for one in self.stream if one.token is not None)

    def stop(self) -> Any:
        """Let go of what was begun; what is still at work after the next step."""
        self.stream.close()
        engine: Any = self.engine
        engine._worker.call(lambda: None)
        return len(engine.activity)

    def go_on(self) -> Any:
        """The rest of what was begun."""
        return sum(1 for _ in self.stream)

    def bench(self, **asked: Any) -> Any:
        """What `bench` measures."""
        if self.engine is not None:
            self.engine.close()
        self.engine = None
        return asdict(measure(hosts=self.hosts_file, **asked))

    def hosts(self, model: str, disk: str | None = None) -> Any:
        """What `hosts` and `info --hosts` say."""
        found = check(self.hosts_file, model)
        asked = {"hosts": self.hosts_file, "split": "pipeline", "disk": disk}
        plan = several(Namespace(model=model, revision=None, **asked))
        return found | {"rows": machine_rows(found) + split_rows(plan), "plan": plan}

    def cached(self) -> Any:
        """Tokens of the last prompt that came from a cache, and from which."""
        last = self.engine.cache_report().records[-1]  # type: ignore[union-attr]
        return [last.cached_tokens, last.source]

    def facts(self) -> Any:
        """The processes of the other ranks, bytes that MLX holds here, experts read from disk."""
        group = self.engine._followers.group  # type: ignore[union-attr]
        seen = self.engine.traffic  # type: ignore[union-attr]
        return {
            "pids": [p.process.pid for p in group._started],
            "bytes": mx.get_active_memory(),
            "misses": 0 if seen is None else seen.misses,
        }


def main() -> None:
    """Serve until the input ends."""
    rank0 = Rank0(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"ok": getattr(rank0, asked.pop("do"))(**asked)}
        except ds.DeepSeekError as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
