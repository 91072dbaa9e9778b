"""A process of its own, for the tests of several at once: python -m tests.prefix_cache.worker."""

import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

from mlx_deepseek.cache.blocks import BLOCK
from mlx_deepseek.cache.prefix_cache import PrefixCache
from tests.cache.layers import fresh, made, prompt, same

FAMILIES, LONGEST = 3, 4


def family(index: int) -> list[int]:
    """The longest prompt of a family that begins alike."""
    return prompt(0, BLOCK) + prompt(1 + index, (LONGEST - 1) * BLOCK)


def write(folder: Path, die_at: int) -> None:
    """Store while someone reads along; die when file number `die_at` is written but unnamed."""
    sync, calls = os.fsync, 0

    def dying(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = dying
    cache = PrefixCache("k", memory_bytes=0, folder=folder)
    for seed in range(1_000_000):
        ids = prompt(seed, 2 * BLOCK)
        cache.store(ids, made(ids))
        print(seed, flush=True)


def contend(folder: Path, seed: int, folder_bytes: int, seconds: float) -> None:
    """Store and restore at random in a folder too small for all; any wrong row is an error."""
    warnings.simplefilter("error")
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    restored = 0
    while time.monotonic() < end:
        cache = PrefixCache("k", memory_bytes=0, folder=folder, folder_bytes=folder_bytes)
        ids = family(chance.randrange(FAMILIES))[: BLOCK * chance.randint(1, LONGEST)]
        layers = fresh("latent")
        tokens = cache.restore(ids, layers)
        assert not tokens or same(layers, made(ids[:tokens]))
        restored += tokens
        cache.store(ids, made(ids))
    print(restored)


if __name__ == "__main__":
    _, task, folder, *numbers = sys.argv
    if task == "write":
        write(Path(folder), int(numbers[0]))
    else:
        contend(Path(folder), int(numbers[0]), int(numbers[1]), float(numbers[2]))
