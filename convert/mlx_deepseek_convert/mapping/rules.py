"""The weight map's engine: rules claim a checkpoint's tensors by name.

A rule is `source pattern -> target patterns, operation`. Placeholders stand for whole name parts
that are numbers: `{layer}` binds a decoder layer, `{mtp}` a layer past num_hidden_layers (as its
number among those), `{expert}` gathers all experts of the layer into one claim, in order,
`{block}` is any other number, of an encoder's block for example, and `{part}` one within a block.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.mapping.ops import Copy, Op

PLACEHOLDER = re.compile(r"\{(layer|mtp|expert|block|part)\}")


@dataclass(frozen=True)
class Rule:
    """`source` -> `targets` through `op`; `optional`: releases without such a tensor exist."""

    source: str
    targets: tuple[str, ...]
    op: Op = field(default_factory=Copy)
    optional: bool = False


@dataclass(frozen=True)
class Claim:
    """One application of a rule: names of the tensors it takes and of those it makes."""

    rule: Rule
    sources: tuple[str, ...]
    targets: tuple[str, ...]


def claim(names: Iterable[str], rules: Sequence[Rule], layers: int, where: object) -> list[Claim]:
    """Assign every tensor name to the one rule that takes it; laws 1 to 3.

    `layers` is num_hidden_layers; `where` names the checkpoint in errors.

    Raises:
        CheckpointError: a tensor no rule or two rules take, a rule that takes nothing, or a gap in
            the numbers of a layer's experts.
    """
    by_skeleton: dict[str, list[tuple[Rule, list[str]]]] = {}
    for rule in rules:
        skeleton, kinds = _skeleton(rule.source)
        by_skeleton.setdefault(skeleton, []).append((rule, kinds))

    gathered: dict[tuple[str, tuple[int, ...]], tuple[Rule, dict[str, int], dict[int, str]]] = {}
    for name in names:
        skeleton, parts = _skeleton(name)
        numbers = [int(part) for part in parts]
        bound = [
            (rule, binding)
            for rule, kinds in by_skeleton.get(skeleton, ())
            if (binding := _bind(kinds, numbers, layers)) is not None
        ]
        if len(bound) != 1:
            raise _not_one(name, [rule for rule, _ in bound], where)
        rule, binding = bound[0]
        expert = binding.pop("expert", 0)
        key = rule.source, tuple(binding.values())
        experts = gathered.setdefault(key, (rule, binding, {}))[2]
        if expert in experts:
            raise CheckpointError(
                f"{where}: tensors {experts[expert]!r} and {name!r} are the same expert's."
            )
        experts[expert] = name

    _check_used(rules, {source for source, _ in gathered}, where)
    return [_claim(*group, where) for group in gathered.values()]


def _skeleton(name: str) -> tuple[str, list[str]]:
    """A name with "#" for each number, and what stands there: digits, or a placeholder's kind."""
    parts, found = name.split("."), []
    for place, part in enumerate(parts):
        kind = PLACEHOLDER.fullmatch(part)
        if kind or _is_number(part):
            parts[place] = "#"
            found.append(kind[1] if kind else part)
    return ".".join(parts), found


def _is_number(part: str) -> bool:
    return part.isdecimal() and len(part) < 10


def _bind(kinds: Sequence[str], numbers: Sequence[int], layers: int) -> dict[str, int] | None:
    binding = {}
    for kind, number in zip(kinds, numbers, strict=True):
        if kind.isdecimal():
            if int(kind) != number:
                return None
            continue
        if kind == "layer" and number >= layers:
            return None
        if kind == "mtp" and number < layers:
            return None
        binding[kind] = number - layers if kind == "mtp" else number
    return binding


def _claim(rule: Rule, binding: Mapping[str, int], experts: Mapping[int, str], where) -> Claim:
    for expected, number in enumerate(sorted(experts)):
        if number != expected:
            raise CheckpointError(
                f"{where}: expert {expected} is missing beside {experts[number]!r}. Expected "
                f"experts 0 to {max(experts)} without a gap; download the missing shard."
            )
    sources = tuple(experts[number] for number in range(len(experts)))
    return Claim(rule, sources, tuple(target.format(**binding) for target in rule.targets))


def _check_used(rules: Sequence[Rule], used: set[str], where: object) -> None:
    for rule in rules:
        if rule.source not in used and not rule.optional:
            raise CheckpointError(
                f"{where}: no tensor named like {rule.source!r}. Expected at least one in a "
                "checkpoint of this architecture; files are missing or config.json is another's."
            )


def _not_one(name: str, rules: Sequence[Rule], where: object) -> CheckpointError:
    if rules:
        sources = " and ".join(repr(rule.source) for rule in rules)
        return CheckpointError(f"{where}: tensor {name!r} is claimed by {sources}; a map's bug.")
    return CheckpointError(
        f"{where}: unknown tensor {name!r}. No rule of this architecture's weight map takes it, "
        "so ignoring it could give wrong results. Check that config.json belongs to these files."
    )
