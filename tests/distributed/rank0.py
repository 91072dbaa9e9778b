"""Rank 0 of a group of processes, which does what it reads from its input, a JSON object a line.

MLX lets a process be in one ring, once; so each ring of the tests has a process like this one.
"""

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


def tokens(
    engine: Any, prompts: list[list[int]], count: int, sampling: dict[str, Any]
) -> list[list[int]]:
    """What a model writes after several prompts at once; goldens have no tokenizer."""
    mailbox = Mailbox()
    requests = [Request(ids, count, Sampling(**sampling), frozenset()) for ids in prompts]
    jobs = [Generation(request, TokenSink(), mailbox=mailbox) for request in requests]
    found: dict[int, list[int]] = {job.number: [] for job in jobs}
    for job, item in engine._dispatcher.together(iter(jobs), mailbox, 16):
        if item is not END and getattr(item, "token", None) is not None:
            found[job.number].append(item.token)
    return [found[number] for number in sorted(found)]


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
        return tokens(self.engine, **asked)

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

    def go_on(self) -> Any:
        """The rest of what was begun."""
        return sum(1 for _ in self.stream)

    def bench(self, **asked: Any) -> Any:
        """What `bench` measures."""
        if self.engine is not None:
            self.engine.close()
        self.engine = None
        return asdict(measure(hosts=self.hosts_file, **asked))

    def hosts(self, model: str) -> Any:
        """What `hosts` and `info --hosts` say."""
        found = check(self.hosts_file, model)
        args = Namespace(model=model, revision=None, hosts=self.hosts_file, split="pipeline")
        plan = several(args)
        return found | {"rows": machine_rows(found) + split_rows(plan), "plan": plan}

    def cached(self) -> Any:
        """Tokens of the last prompt that came from a cache, and from which."""
        last = self.engine.cache_report().records[-1]  # type: ignore[union-attr]
        return [last.cached_tokens, last.source]

    def facts(self) -> Any:
        """The processes of the other ranks, and bytes that MLX holds here."""
        group = self.engine._followers.group  # type: ignore[union-attr]
        return {"pids": [p.process.pid for p in group._started], "bytes": mx.get_active_memory()}


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
