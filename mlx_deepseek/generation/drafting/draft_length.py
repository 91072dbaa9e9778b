"""How many tokens to draft: as many as pay, by acceptance and cost measured on this machine."""

import math
from collections import defaultdict, deque

DEEPEST = 5
OPTIMISM = 0.8  # chance of a draft before any was seen
MEMORY = 0.95  # of older drafts, per step
# Rounds of a depth before it is compared with others, and between trials of a neighbour.
CALIBRATION, TRIAL_EVERY = 2, 32
RECENT = 8  # rounds whose times count


class DraftLength:
    """Chooses the depth of each verification step; 0 is decoding without drafts.

    Only speed depends on it, never what is written. With a `fixed` depth it does not choose.
    """

    def __init__(self, fixed: int | None = None, deepest: int = DEEPEST):
        self.fixed = fixed
        self.deepest = deepest
        self.steps = 0
        self.seconds = defaultdict[int, deque[float]](lambda: deque(maxlen=RECENT))
        # Of the first draft of a step, the second, ...: how often it was verified, and was right.
        self.verified, self.right = [1.0] * deepest, [OPTIMISM] * deepest

    def next(self) -> int:
        """Tokens to draft in the next step."""
        if self.fixed is not None:
            return self.fixed
        self.steps += 1
        best = self.best
        for depth in (1, 0, min(best + 1, self.deepest)):
            if len(self.seconds[depth]) < CALIBRATION:
                return depth
        if self.steps % TRIAL_EVERY:
            return best
        neighbour = best + 1 if self.steps % (2 * TRIAL_EVERY) == 0 else best - 1
        return min(max(neighbour, 0), self.deepest)

    @property
    def best(self) -> int:
        """Of the depths measured so far, the one that writes fastest; 1 as long as none is."""
        measured = [depth for depth, times in self.seconds.items() if len(times) >= CALIBRATION]
        return max(measured, key=self.tokens_per_second, default=1)

    def note(self, depth: int, accepted: int, seconds: float) -> None:
        """Take account of a step: `depth` drafts, of which the first `accepted` were right."""
        self.seconds[depth].append(seconds)
        for i in range(min(depth, accepted + 1, self.deepest)):
            self.verified[i] = self.verified[i] * MEMORY + 1
            self.right[i] = self.right[i] * MEMORY + (i < accepted)

    def tokens_per_second(self, depth: int) -> float:
        """What to expect of steps of `depth` drafts: one token, and each draft by its chance."""
        chances = [a / b for a, b in zip(self.right[:depth], self.verified[:depth], strict=True)]
        expected = sum(math.prod(chances[:drafts]) for drafts in range(depth + 1))
        # The shortest time: others include what is done once, and other programs' work.
        return expected / min(self.seconds[depth])
