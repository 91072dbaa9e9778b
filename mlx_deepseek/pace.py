"""How many tokens to draft: as many as pay, by the acceptance and the clock of this machine."""

import math
from collections import deque

DEEPEST = 5
# What is thought of drafts until some are seen.
OPTIMISM = 0.8
MEMORY = 0.95  # of older rounds, per round
# Rounds of a depth before it is compared with others, and between trials of another depth.
CALIBRATION, TRIAL_EVERY = 2, 32
RECENT = 8  # rounds whose times count


class Pace:
    """Chooses the depth of each round of drafting; 0 is writing without drafts.

    Only speed depends on it, never what is written. With a `fixed` depth it does not choose.
    """

    def __init__(self, fixed: int | None = None):
        self.fixed = fixed
        self.rounds = 0
        self.count = [0] * (DEEPEST + 1)
        self.recent_s: list[deque[float]] = [deque(maxlen=RECENT) for _ in self.count]
        # For the first draft of a round, the second, ...: how often it came up, and was right.
        self.seen, self.right = [1.0] * DEEPEST, [OPTIMISM] * DEEPEST

    def depth(self) -> int:
        """Tokens to draft in the next round."""
        if self.fixed is not None:
            return self.fixed
        if self.deepest < 0:
            return 1 if self.count[1] < CALIBRATION else 0
        best = self.best
        if best == self.deepest < DEEPEST:
            return best + 1
        if self.rounds % TRIAL_EVERY:
            return best
        upwards = self.rounds % (2 * TRIAL_EVERY) == 0
        return min(best + 1, DEEPEST) if upwards else max(best - 1, 0)

    @property
    def deepest(self) -> int:
        """The depth up to which all have been tried enough; -1 while 0 has not been.

        A deeper one is tried when this is the best so far.
        """
        untried = (depth for depth, count in enumerate(self.count) if count < CALIBRATION)
        return next(untried, DEEPEST + 1) - 1

    @property
    def best(self) -> int:
        """Of those tried, the depth that writes fastest; 1 as long as none is."""
        return max(range(self.deepest + 1), key=self.speed, default=1)

    def note(self, depth: int, accepted: int, seconds: float) -> None:
        """Take account of a round: `depth` drafts, of which the first `accepted` were right."""
        self.rounds += 1
        if depth > DEEPEST:
            return
        self.count[depth] += 1
        self.recent_s[depth].append(seconds)
        for i in range(min(depth, accepted + 1)):
            self.seen[i] = self.seen[i] * MEMORY + 1
            self.right[i] = self.right[i] * MEMORY + (i < accepted)

    def speed(self, depth: int) -> float:
        """Expected tokens per second of rounds of `depth` drafts."""
        # The shortest: others include what is done once, and other programs' work.
        return sum(self.chance(drafts) for drafts in range(depth + 1)) / min(self.recent_s[depth])

    def chance(self, drafts: int) -> float:
        """That the first `drafts` drafts of a round are all right."""
        pairs = zip(self.right[:drafts], self.seen[:drafts], strict=True)
        return math.prod(right / seen for right, seen in pairs)
