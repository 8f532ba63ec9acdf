"""Whose turn it is: which channels are taken from next, and how many of each. Pure; not here: the database, sending.

A channel that proved itself may have several deliveries in flight, any other one. So a receiver that hangs holds one
thread, and a quarter of the threads is kept for channels that are known to be well; of the others one customer's channels
have a quarter at most, and half while nobody else has such channels waiting, however many of them hang.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

# In flight to one channel at most. The next message of a channel waits for one in 16 answers: at 50 ms each, 320 a second.
MOST_IN_FLIGHT = 16
# Slower than this is not well: 20 s is the whole time of an attempt, 0.2 s what most receivers need at worst.
SLOW_SECONDS = 1.0


@dataclass(frozen=True)
class Waiting:
    """A channel with due deliveries. `limit`: how many it may have in flight, 1 unless it proved itself."""

    customer_id: int
    channel_id: UUID
    limit: int


@dataclass(frozen=True)
class Turn:
    """So many deliveries are to be taken from a channel."""

    customer_id: int
    channel_id: UUID
    number: int


class Turns:
    """Channels with due deliveries in the order of their turns, and what is in flight to each from this process."""

    def __init__(self, threads: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._unproven_threads = threads - threads // 4
        self._most = min(MOST_IN_FLIGHT, max(1, threads // 2))
        self._monotonic = monotonic
        self._waiting: dict[UUID, Waiting] = {}
        self._limits: dict[UUID, int] = {}
        self._customers: dict[UUID, int] = {}
        self._since: dict[UUID, dict[UUID, float]] = {}

    @property
    def in_flight(self) -> int:
        """Deliveries between `began` and `ended`."""
        return sum(map(len, self._since.values()))

    @property
    def delivery_ids(self) -> list[UUID]:
        """Which those are."""
        return [delivery_id for since in self._since.values() for delivery_id in since]

    def offer(self, found: Iterable[Waiting]) -> None:
        """Replace what waits by what was found now, the longest due first."""
        self._waiting = {channel.channel_id: channel for channel in found}
        self._limits |= {channel.channel_id: channel.limit for channel in self._waiting.values()}
        self._customers |= {channel.channel_id: channel.customer_id for channel in self._waiting.values()}

    def next(self, most: int) -> list[Turn]:
        """The next turns, together at most `most` deliveries: each channel one, then each a second, and so on.

        The channels named go to the end of the order.
        """
        free = min(most, self._threads - self.in_flight)
        if free <= 0:
            return []
        busy: Counter[int] = Counter()
        for channel_id, since in self._since.items():
            if self._limits[channel_id] == 1:
                busy[self._customers[channel_id]] += len(since)
        unproven = self._unproven_threads - busy.total()
        asking = {
            one.customer_id for one in self._waiting.values() if self._limits[one.channel_id] == 1
        } | busy.keys()
        share = max(2, self._unproven_threads // (4 if len(asking) > 1 else 2))
        rooms: dict[UUID, int] = {}
        for channel_id in self._waiting:
            if len(rooms) >= free:
                break
            room = self._room(channel_id)
            if room and self._limits[channel_id] == 1:
                customer = self._customers[channel_id]
                room = min(room, max(0, unproven), max(0, share - busy[customer]))
                unproven -= room
                busy[customer] += room
            if room:
                rooms[channel_id] = room
        numbers = _dealt(rooms, free)
        turns = [Turn(self._waiting[one].customer_id, one, number) for one, number in numbers.items()]
        for turn in turns:
            self._waiting[turn.channel_id] = self._waiting.pop(turn.channel_id)
        return turns

    def began(self, channel_id: UUID, delivery_ids: Collection[UUID], asked: int) -> None:
        """These were taken. Fewer than asked for: nothing more is due there, or others are at it."""
        if delivery_ids:
            self._since.setdefault(channel_id, {}).update(dict.fromkeys(delivery_ids, self._monotonic()))
        if len(delivery_ids) < asked:
            self._waiting.pop(channel_id, None)

    def ended(self, channel_id: UUID, delivery_id: UUID) -> None:
        """A delivery of the channel is no longer in flight."""
        del self._since[channel_id][delivery_id]
        if not self._since[channel_id]:
            del self._since[channel_id]

    def judged(self, limits: Mapping[UUID, int]) -> None:
        """Channels have other limits than before."""
        self._limits |= limits

    def _room(self, channel_id: UUID) -> int:
        since = self._since.get(channel_id, {})
        if since and self._monotonic() - min(since.values()) > SLOW_SECONDS:
            return 0  # it was well when it was last judged, and hangs now
        return max(0, min(self._limits[channel_id], self._most) - len(since))


def _dealt(rooms: Mapping[UUID, int], free: int) -> dict[UUID, int]:
    """`free` dealt out one by one to those with room."""
    numbers = dict.fromkeys(rooms, 0)
    while free > 0:
        open_ = [one for one, room in rooms.items() if numbers[one] < room]
        if not open_:
            break
        for one in open_[:free]:
            numbers[one] += 1
        free -= len(open_[:free])
    return {one: number for one, number in numbers.items() if number}
