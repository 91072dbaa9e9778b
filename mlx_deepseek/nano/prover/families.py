"""The families of exercises that nano-prover learns; the portfolio's tactics prove few."""

from collections.abc import Iterator, Mapping
from random import Random

from mlx_deepseek.nano.prover import cases, chain, exercise, generalised, recursion, witness
from mlx_deepseek.nano.prover.exercise import Exercise, Template

FAMILIES: Mapping[str, list[Template]] = {
    "witness": witness.TEMPLATES,
    "recursion": recursion.TEMPLATES,
    "generalised": generalised.TEMPLATES,
    "chain": chain.TEMPLATES,
    "cases": cases.TEMPLATES,
}


def training(family: str, random: Random) -> Iterator[Exercise]:
    """Exercises to learn from, without end."""
    return exercise.stream(family, FAMILIES[family], random, held_out=False)


def held_out(family: str, count: int, seed: int = 0) -> list[Exercise]:
    """`count` exercises for measuring; no two alike but for names."""
    drawn: dict[str, Exercise] = {}
    for one in exercise.stream(family, FAMILIES[family], Random(f"{family}:{seed}"), held_out=True):
        drawn.setdefault(one.shape, one)
        if len(drawn) == count:
            return list(drawn.values())
    raise AssertionError
