"""Tokens that requests may still add to their caches, if all write their longest answers."""

from collections.abc import Iterable

from mlx_deepseek.generation.job import Generation
from mlx_deepseek.generation.prefill import Prefill
from mlx_deepseek.generation.row import DecodingRow


def longest(job: Generation) -> int:
    """Tokens of a request's prompt and its longest answer."""
    return len(job.request.ids) + job.request.max_tokens


def growing(rows: Iterable[DecodingRow], readings: Iterable[Prefill]) -> int:
    """Tokens to come of those who write, of those who read, and of those who wait for what is read.

    Rows of a batch are padded, so that each may grow as much as the one that grows most.
    """
    left = [row.left for row in rows]
    found = len(left) * max(left, default=0)
    for reading in readings:
        found += longest(reading.job) - reading.position
        found += sum(longest(job) - place for place, job, _ in reading.followers)
    return found
