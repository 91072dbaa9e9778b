"""Proofs with the goals after each of their lines, as Lean tells them."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random

from mlx_deepseek.nano.prover.exercise import Exercise
from mlx_deepseek.nano.prover.families import FAMILIES, training
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.pool import WorkerPool
from mlx_deepseek.proving.process import Limits
from mlx_deepseek.proving.session import Checked
from mlx_deepseek.proving.tree import steps_of
from mlx_deepseek.proving.worker import NO_GOALS

LIMITS = Limits(seconds=30, resident_bytes=2 << 30)
FILE = "states.jsonl"


@dataclass(frozen=True)
class Verified:
    """An exercise that Lean accepted; `steps` are beginnings of its proof with the goals left."""

    exercise: Exercise
    steps: tuple[tuple[str, str], ...]


def verified(exercises: Iterable[Exercise], lean: Lean) -> Iterator[Verified]:
    """Those exercises whose proofs Lean accepts, with their steps."""
    with WorkerPool(lean, LIMITS) as pool:
        for one in exercises:
            head = f"{one.context}{one.statement}\n"
            with pool.worker("") as worker:
                messages = worker.elaborate(f"{head}{one.proof}\n", LIMITS.seconds)
                if any(m.severity == "error" or m.is_sorry for m in messages):
                    continue
                found = steps_of(one.proof)(worker, Checked(), head.count("\n"))
            yield Verified(one, tuple(step for step in found if step[1] != NO_GOALS))


def kept_states(
    folder: Path, per_family: int, lean: Callable[[], Lean], seed: int = 0
) -> dict[str, list[Verified]]:
    """As many verified exercises of each family; made once, and read from the folder after that."""
    path = folder / FILE
    if not path.exists():
        random, toolchain = Random(f"states:{seed}"), lean()
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            for family in FAMILIES:
                drawn = islice(training(family, random), per_family)
                for one in verified(drawn, toolchain):
                    file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
        part.replace(path)
    found: dict[str, list[Verified]] = {family: [] for family in FAMILIES}
    with path.open(encoding="utf-8") as file:
        for entry in map(json.loads, file):
            exercise = Exercise(**entry["exercise"])
            steps = tuple((body, goal) for body, goal in entry["steps"])
            found[exercise.family].append(Verified(exercise, steps))
    return found
