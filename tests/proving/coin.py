"""A policy that throws coins: it shows what a search does, and what it costs, without a model."""

import random
import re
from collections.abc import Sequence

from mlx_deepseek.proving.session import ProofRequest, Written

NAMES = re.compile(r"^((?:h\d+ )*h\d+) :", re.MULTILINE)


class Coin:
    """Random lines; names of hypotheses come from the goal that it is shown."""

    name = "coin"
    completes = True

    def __init__(self, batch: int = 1, longest: int = 4):
        self.batch = batch
        self.longest = longest
        self.asked: list[ProofRequest] = []

    def write(self, requests: Sequence[ProofRequest]) -> list[Written]:
        self.asked += requests
        return [self._written(request) for request in requests]

    def _written(self, request: ProofRequest) -> Written:
        chance = random.Random(f"{request.seed}")
        count = chance.randrange(1, self.longest) if request.goal else chance.randrange(1, 12)
        lines = self._lines(chance, request.goal, count)
        return Written(request.body + "\n".join(lines) + "\n", tokens=count)

    def _lines(self, chance: random.Random, goal: str, count: int) -> list[str]:
        known = [n for group in NAMES.findall(goal.split("\n\n")[0]) for n in group.split()]
        fresh = max((int(name[1:]) for name in known), default=0)
        out = []
        for _ in range(count):
            pick = chance.choice(known) if known else "h1"
            a, b = f"h{fresh + 1}", f"h{fresh + 2}"
            fresh += 2
            kind = chance.randrange(8)
            if kind <= 1:
                out.append(f"  intro {a}")
                known.append(a)
            elif kind == 2:
                out.append("  constructor")
            elif kind == 3:
                out.append(f"  exact {pick}")
            elif kind == 4:
                out.append(f"  apply {pick}")
            elif kind == 5:
                out.append(f"  obtain ⟨{a}, {b}⟩ := {pick}")
                known += [a, b]
            elif kind == 6:
                out.append(f"  rcases {pick} with {a} | {a}")
                known.append(a)
            else:
                out.append(chance.choice(["  left", "  right", "  assumption", "  contradiction"]))
        return out
