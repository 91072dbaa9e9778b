"""The prompts that are being read, and which of them comes next."""

from collections.abc import Sequence

from mlx_deepseek.generation.job import Generation
from mlx_deepseek.generation.prefill import Prefill, chunk_tokens, is_short, together


class PrefillQueue(list[Prefill]):
    """Prompts, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    @property
    def jobs(self) -> list[Generation]:
        """Their requests, and those who wait for what they share with them."""
        ones = list(self)  # of another thread
        return [one.job for one in ones] + [job for one in ones for _, job, _ in one.followers]

    def leader(self, ids: Sequence[int], own: int) -> Prefill | None:
        """The one that will share more of a prompt than is read of it now, `own` tokens if any."""
        leader = max(self, key=lambda one: one.shared(ids), default=None)
        if leader is None or leader.shared(ids) < max(own, leader.position + 1):
            return None
        return leader

    @property
    def short(self) -> bool:
        """Whether one is so short that others are read in the same pass."""
        step = chunk_tokens(short=False)
        return any(is_short(one, step) for one in self)

    def next(self, *, writing: bool) -> tuple[list[Prefill], int]:
        """What is read next, and how many tokens of it at most.

        The oldest prompt or the one with the fewest tokens left, in turn; short ones along with it,
        and first, as long as nobody is `writing`.
        """
        self._turn += 1
        first = self[0]
        if self._turn % 2 or (self.short and not writing):
            first = min(self, key=lambda one: one.end - one.position)
        step = chunk_tokens(short=writing)
        return together(first, self, step), step
