"""RMaxTS: tree search over goals that is rewarded for new ones (arXiv:2408.08152 §3)."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.lean_messages import UNSOLVED
from mlx_deepseek.proving.lean_text import blank, sorries
from mlx_deepseek.proving.session import Checked, Policy, ProofRequest, Session, Written
from mlx_deepseek.proving.whole_proofs import done, write
from mlx_deepseek.proving.worker import NO_GOALS, LeanWorker

DISCOUNT = 0.99
LEAST_VISITS = 1e-2
GOAL_S = 20.0
LONGEST_BODY = 8000  # characters; longer ones leave no room for an answer


@dataclass
class Statistics:
    """Discounted sums of rewards and visits."""

    reward: float = 0.0
    visits: float = 0.0

    def add(self, reward: float) -> None:
        """One more visit."""
        self.reward = self.reward * DISCOUNT + reward
        self.visits = self.visits * DISCOUNT + 1

    def with_jobs(self, jobs: int) -> "Statistics":
        """As if so many running jobs had ended without reward (virtual loss)."""
        fade = DISCOUNT**jobs
        return Statistics(self.reward * fade, self.visits * fade + (1 - fade) / (1 - DISCOUNT))


@dataclass
class Node:
    """Goals that some tactics reach from the parent's; `own` counts visits that ended here."""

    goal: str
    parent: "Node | None" = None
    bodies: list[str] = field(default_factory=list)
    children: dict[str, "Node"] = field(default_factory=dict)
    own: Statistics = field(default_factory=Statistics)
    below: Statistics = field(default_factory=Statistics)
    own_jobs: int = 0
    jobs: int = 0

    def path(self) -> "Iterator[Node]":
        """This node and those above it."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def begin(self) -> None:
        """A job starts from here."""
        self.own_jobs += 1
        for node in self.path():
            node.jobs += 1

    def end(self, reward: float) -> None:
        """A job that started from here has ended."""
        self.own_jobs -= 1
        self.own.add(reward)
        for node in self.path():
            node.jobs -= 1
            node.below.add(reward)


@dataclass(frozen=True)
class Branch:
    """A node as it was at one moment: `tactic` is the last line that led to its goals."""

    depth: int
    tactic: str
    goal: str
    visits: float
    reward: float


@dataclass(frozen=True)
class TreeView:
    """The tree at one moment, each node after its parent; `left_out` did not fit."""

    branches: tuple[Branch, ...]
    left_out: int = 0


def view(root: Node, most: int = 60) -> TreeView:
    """The tree to look at, the most visited children first."""
    branches: list[Branch] = []
    waiting, count = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if len(branches) < most:
            lines = node.bodies[0].rstrip().splitlines() if node.bodies else []
            tactic = lines[-1].strip() if lines else ""
            told = node.goal, node.below.visits, node.below.reward
            branches.append(Branch(depth, tactic, *told))
        below = sorted(node.children.values(), key=lambda child: child.below.visits)
        waiting += [(child, depth + 1) for child in below]
    return TreeView(tuple(branches), count - len(branches))


def select(root: Node) -> Node:
    """Walk down from the root, at each node choosing to stay or the child with the best bound."""
    node = root
    while True:
        options = [(node.own.with_jobs(node.own_jobs), None)]
        options += [(c.below.with_jobs(c.jobs), c) for c in node.children.values()]
        total = max(sum(statistics.visits for statistics, _ in options), 2.0)

        def bound(statistics: Statistics, total: float = total) -> float:
            visits = max(statistics.visits, LEAST_VISITS)
            return statistics.reward / visits + math.sqrt(2 * math.log(total) / visits)

        _, chosen = max(options, key=lambda option: bound(option[0]))
        if chosen is None:
            return node
        node = chosen


def grow(root: Node, steps: list[tuple[str, str]]) -> bool:
    """Add a proof's goals, each with the tactics to it, below the root; whether any is new."""
    node, new, before = root, False, root.goal
    for body, goal in steps:
        if goal == before or len(body) > LONGEST_BODY:
            continue
        child = node.children.get(goal)
        if child is None:
            child = node.children[goal] = Node(goal, node)
            new = True
        if body not in child.bodies:
            child.bodies.append(body)
        node, before = child, goal
    return new


def steps_of(text: str) -> Callable[[LeanWorker, Checked, int], list[tuple[str, str]]]:
    """Asks a worker for the goals after each line of a proof, up to its first error."""

    def ask(worker: LeanWorker, checked: Checked, before: int) -> list[tuple[str, str]]:
        lines = text.split("\n")
        seen = blank(text).split("\n")
        wrong = [m.line for m in checked.messages if _truncates(m.severity, m.text, m.line)]
        steps, done = [], []
        for number, line in enumerate(lines[: min(wrong, default=len(lines) + 1) - 1], start=1):
            done.append(line)
            if not seen[number - 1].strip():
                continue
            goal = worker.goals(before + number, len(seen[number - 1].rstrip()), GOAL_S)
            if goal is not None:
                steps.append(("\n".join(done) + "\n", goal))
        return steps

    return ask


def _truncates(severity: str, text: str, line: int) -> bool:
    # At the statement, or with goals unsolved, the proof only ended early.
    return line >= 1 and severity == "error" and not text.startswith(UNSOLVED)


def search(
    session: Session,
    policy: Policy,
    count: int,
    *,
    every: bool = False,
    watch: Callable[[Node], None] | None = None,
) -> Node:
    """Make `count` attempts from goals that the tree chooses; the tree when done."""
    root = Node(_root_goal(session), bodies=[""])
    seed = session.journal.seed
    for start in range(0, count, policy.batch):
        if done(session, every):
            break
        numbers = range(start, min(start + policy.batch, count))
        nodes, requests = [], []
        for number in numbers:
            node = select(root)
            node.begin()
            nodes.append(node)
            body = random.Random(f"{seed}:{number}").choice(node.bodies)
            goal = node.goal if node is not root else ""
            requests.append(ProofRequest(session.theorem, seed + number, body, goal))
        written = write(session, policy, requests)
        session.consider(written, "tree", [request.seed for request in requests])
        for node, one in zip(nodes, written, strict=True):
            node.end(float(_explore(session, root, one)))
        if watch is not None:
            watch(root)
    return root


def _explore(session: Session, root: Node, written: Written) -> bool:
    """Add what an answer reached to the tree; whether any goal is new."""
    try:
        text = until_sorry(written.text)
    except LeanError:
        return False
    _, steps = session.checked_by(text, then=steps_of(text))
    return grow(root, [step for step in steps or [] if step[1] != NO_GOALS])  # type: ignore[union-attr]


def until_sorry(text: str) -> str:
    """The lines before the first `sorry`."""
    found = sorries(text)
    return text[: text.rfind("\n", 0, found[0][0]) + 1] if found else text


def _root_goal(session: Session) -> str:
    """The goals that the statement opens."""

    def ask(worker: LeanWorker, _: Checked, before: int) -> str | None:
        return worker.goals(before + 1, len("  skip"), GOAL_S)

    _, goal = session.checked_by("  skip", then=ask)
    return str(goal or "")
