"""What a layer reads and when, with reads that are watched, fail, or are left behind."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.layers.expert_slots import ExpertSlots, Traffic


class Disk:
    """Notes what is read into which slot; `fails` makes waiting fail."""

    def __init__(self) -> None:
        self.contents: dict[int, int] = {}  # slot -> expert
        self.reads: list[list[int]] = []
        self.fails = False

    def start(self, claimed: dict[int, int]) -> "Disk":
        self.reads.append(list(claimed))
        self.flying = claimed
        return self

    def wait(self) -> None:
        if self.fails:
            raise CheckpointError("disk: cannot be read at byte 7")
        self.contents |= {slot: expert for expert, slot in self.flying.items()}


def layer(count: int, capacity: int) -> tuple[ExpertSlots, Disk]:
    disk = Disk()
    return ExpertSlots(count, capacity, 10, disk.start, Traffic()), disk


def take(slots: ExpertSlots, disk: Disk, experts: list[int], counts=None) -> list[list[int]]:
    """One pass; each group's slots must hold its experts when its turn comes."""
    groups = []
    chosen = np.unique(experts)
    for group in slots.groups(chosen, np.ones(len(chosen)) if counts is None else counts):
        assert [disk.contents[slot] for slot in slots.of(group).tolist()] == group.tolist()
        groups.append(group.tolist())
    assert sorted(chain(*groups)) == sorted(set(experts))
    return groups


@given(
    capacity=st.integers(1, 9),
    passes=st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=12), max_size=12),
)
def test_every_expert_is_there_in_its_turn_and_read_at_most_once_a_pass(capacity, passes):
    slots, disk = layer(12, capacity)
    for experts in passes:
        disk.reads.clear()
        here = {disk.contents[slot] for slot in disk.contents}
        take(slots, disk, experts)
        read = list(chain(*disk.reads))
        assert len(read) == len(set(read))
        assert set(read) <= set(experts)
        assert not set(read) & here & set(experts) or len(set(experts)) > capacity
    assert slots.traffic.read_bytes == 10 * slots.traffic.misses


def test_what_is_there_comes_first_and_the_next_is_read_meanwhile():
    slots, disk = layer(12, 4)
    take(slots, disk, [1, 2])
    groups = slots.groups(np.array([1, 2, 3, 4]), np.ones(4))
    assert next(groups).tolist() == [1, 2]
    assert disk.reads[-1] == [3, 4]  # before the first group's turn is over
    assert next(groups).tolist() == [3, 4]
    assert list(groups) == []


def test_the_most_wanted_are_read_last():
    slots, disk = layer(12, 4)
    take(slots, disk, [0, 1, 2, 3, 4, 5, 6, 7], np.array([9, 1, 1, 1, 1, 1, 1, 8]))
    assert disk.reads[-1][-2:] == [7, 0]
    assert take(slots, disk, [0, 7]) == [[0, 7]]
    assert len(list(chain(*disk.reads))) == 8


def test_a_failed_read_leaves_nothing_behind():
    slots, disk = layer(12, 2)
    take(slots, disk, [1, 2])
    disk.fails = True
    with pytest.raises(CheckpointError, match="byte 7"):
        take(slots, disk, [2, 3])
    disk.fails = False
    assert take(slots, disk, [2, 3]) == [[2], [3]]
    assert take(slots, disk, [1, 2, 3]) == [[2, 3], [1]]


def test_a_pass_that_was_left_does_not_fail_the_next_one():
    slots, disk = layer(12, 2)
    take(slots, disk, [1, 2])
    left = slots.groups(np.array([2, 3]), np.ones(2))
    next(left)
    left.close()
    disk.fails = True
    again = slots.groups(np.array([2]), np.ones(1))
    assert next(again).tolist() == [2]
    disk.fails = False
    assert take(slots, disk, [4, 5])[-1]
