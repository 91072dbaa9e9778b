"""The slot table against a plain model of least recently used."""

from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.runtime.slots import Slots


@given(capacity=st.integers(1, 6), wanted=st.lists(st.sets(st.integers(0, 9)), max_size=30))
def test_least_recently_used_things_go(capacity, wanted):
    slots, recent = Slots(capacity), []  # most recent last
    for things in wanted:
        things = sorted(things)[:capacity]
        assert [thing in slots for thing in range(10)] == [thing in recent for thing in range(10)]
        here = [thing for thing in things if thing in slots]
        missing = [thing for thing in things if thing not in slots]
        assert slots.room(here) == capacity - len(here)
        slots.use(here)
        claimed = slots.claim(missing, keep=here)
        slots.fill(claimed)
        recent = [thing for thing in recent if thing not in things] + here + missing
        recent = recent[-capacity:]
        places = [slots[thing] for thing in recent]
        assert len(set(places)) == len(places)
        assert all(0 <= place < capacity for place in places)


def test_what_could_not_be_filled_is_free_again():
    slots = Slots(2)
    slots.fill(slots.claim([1, 2], keep=[]))
    claimed = slots.claim([3], keep=[2])
    assert 1 not in slots
    assert 3 not in slots
    slots.release(claimed)
    again = slots.claim([4], keep=[2])
    assert again == {4: claimed[3]}
    assert 2 in slots
