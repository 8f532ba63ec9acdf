"""Whose turn it is: nobody starves, a channel that is not known to be well holds one thread."""

from __future__ import annotations

import uuid
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.delivery.turns import MOST_IN_FLIGHT, SLOW_SECONDS, Turns, Waiting


def _channels(number: int, limit: int = 1, *, of_one: bool = False) -> list[Waiting]:
    """Each of a customer of its own, or all of one."""
    return [Waiting(1 if of_one else customer, uuid.uuid4(), limit) for customer in range(number)]


def _begin(turns: Turns, most: int = 1000) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Take all that is asked for, as if every channel had plenty. Returns: channel and delivery of each."""
    begun = []
    for turn in turns.next(most):
        ids = [uuid.uuid4() for _ in range(turn.number)]
        turns.began(turn.channel_id, ids, turn.number)
        begun += [(turn.channel_id, one) for one in ids]
    return begun


def test_a_channel_that_proved_nothing_gets_one_thread_and_a_proven_one_half_of_them() -> None:
    turns = Turns(8)
    new, proven = _channels(1)[0], _channels(1, limit=16)[0]
    turns.offer([new, proven])
    assert Counter(channel for channel, _ in _begin(turns)) == {new.channel_id: 1, proven.channel_id: 4}
    assert _begin(turns) == []  # three threads are free, for others


def test_a_quarter_of_the_threads_is_kept_for_channels_that_are_known_to_be_well() -> None:
    """Most likely wrong: forty receivers that hang hold all threads, and everybody waits 20 s."""
    turns = Turns(32)
    turns.offer(_channels(40))
    assert len(_begin(turns)) == 24
    well = _channels(2, limit=16)
    turns.offer(well)
    assert Counter(channel for channel, _ in _begin(turns)) == {one.channel_id: 4 for one in well}


def test_one_customers_channels_that_are_not_known_to_be_well_have_a_quarter_of_what_those_have() -> None:
    """A hundred receivers of one that hang would hold all 24, and the mails of everybody wait."""
    turns = Turns(32)
    hanging, others = _channels(100, of_one=True), [Waiting(2, uuid.uuid4(), 1), Waiting(3, uuid.uuid4(), 1)]
    turns.offer([*hanging, *others])
    begun = [channel for channel, _ in _begin(turns)]
    assert len(begun) == 8
    assert begun[6:] == [one.channel_id for one in others]
    assert _begin(turns) == []


def test_a_customer_alone_has_half_of_them_and_who_comes_after_it_finds_the_others_free() -> None:
    turns = Turns(32)
    turns.offer(_channels(100, of_one=True))
    assert len(_begin(turns)) == 12
    for customer in (2, 3):
        turns.offer([Waiting(customer, uuid.uuid4(), 1) for _ in range(12)])
        assert len(_begin(turns)) == 6


def test_threads_are_dealt_out_evenly_and_the_order_goes_round() -> None:
    turns = Turns(4)
    channels = _channels(6, limit=16)
    turns.offer(channels)
    first = _begin(turns)
    assert [channel for channel, _ in first] == [one.channel_id for one in channels[:4]]
    for channel, delivery in first:
        turns.ended(channel, delivery)
    assert [channel for channel, _ in _begin(turns)][:2] == [one.channel_id for one in channels[4:]]


def test_a_proven_channel_that_begins_to_hang_gets_no_more() -> None:
    now = 0.0
    turns = Turns(32, lambda: now)
    (channel,) = _channels(1, limit=4)
    turns.offer([channel])
    begun = _begin(turns)
    assert len(begun) == 4
    turns.ended(*begun[1])
    now = SLOW_SECONDS + 0.1
    assert _begin(turns) == []
    for one in (begun[0], *begun[2:]):
        turns.ended(*one)
    assert len(_begin(turns)) == 4  # until it is judged by what ended
    turns.judged({channel.channel_id: 1})
    assert _begin(turns) == []


def test_what_gives_less_than_was_asked_is_not_asked_again_until_it_is_found_again() -> None:
    turns = Turns(8)
    (channel,) = _channels(1, limit=4)
    turns.offer([channel])
    (turn,) = turns.next(8)
    turns.began(turn.channel_id, [uuid.uuid4()], turn.number)
    assert turns.next(8) == []
    turns.offer([channel])
    assert [turn.number for turn in turns.next(8)] == [3]


_LIMITS = st.one_of(st.just(1), st.integers(1, MOST_IN_FLIGHT))  # most channels have not proved themselves


@given(st.integers(1, 64), st.lists(_LIMITS, max_size=40), st.integers(0, 64), st.randoms(use_true_random=False))
def test_no_limit_is_ever_passed_and_nothing_due_waits_while_a_thread_is_free_for_it(
    threads: int, limits: list[int], most: int, random: object
) -> None:
    turns = Turns(threads)
    channels = [Waiting(1, uuid.uuid4(), limit) for limit in limits]
    by_id = {channel.channel_id: channel for channel in channels}
    turns.offer(channels)
    in_flight: list[tuple[uuid.UUID, uuid.UUID]] = []
    for _ in range(5):
        begun = _begin(turns, most)
        in_flight += begun
        counts = Counter(channel for channel, _ in in_flight)
        assert len(in_flight) == turns.in_flight <= threads
        assert len(begun) <= most
        assert all(number <= min(by_id[channel].limit, MOST_IN_FLIGHT) for channel, number in counts.items())
        unproven = sum(number for channel, number in counts.items() if by_id[channel].limit == 1)
        assert unproven <= threads - threads // 4
        if len(begun) < most and len(in_flight) < threads:
            room = {
                one.channel_id: min(one.limit, max(1, threads // 2)) - counts[one.channel_id] for one in channels
            }
            waiting = [channel for channel, number in room.items() if number > 0]
            assert all(by_id[channel].limit == 1 for channel in waiting)
            # All are of one customer, which has half of these threads alone.
            assert not waiting or unproven == min(threads - threads // 4, max(2, (threads - threads // 4) // 2))
        random.shuffle(in_flight)  # type: ignore[attr-defined]
        for one in in_flight[len(in_flight) // 2 :]:
            turns.ended(*one)
        in_flight = in_flight[: len(in_flight) // 2]
