"""Telling for how long things have stood still, whatever the clocks on the wall do."""

import time
from collections.abc import Callable, Hashable, Mapping
from datetime import timedelta
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
GAPS = 4  # between answers, that make up a lease: signs of life are more frequent, and a few of them may be late


class Standstills(Generic[Key]):
    """Watches versions of things and times, from the first look on, how long each has been the same."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since: dict[Key, tuple[object, float]] = {}

    def look(self, versions: Mapping[Key, object]) -> Mapping[Key, timedelta]:
        """How long each has stood still. What is not among them is forgotten."""
        now = self._monotonic()
        before = self._since
        self._since = {
            key: before[key] if key in before and before[key][0] == version else (version, now)
            for key, version in versions.items()
        }
        return {key: timedelta(seconds=now - since) for key, (_, since) in self._since.items()}


class LeaseWatch(Generic[Key]):
    """Standstills of what is held by others, where all hear of each other by a database that may be away.

    While it is, the living are as silent as the dead. So of the time between two of its answers no more than a part of
    a lease counts, which is less than the living need to be heard of when it is back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._answered_at = monotonic()
        self._longest_gap = 0.0
        self._attended = 0.0
        self._standstills: Standstills[Key] = Standstills(lambda: self._attended)

    def answered(self) -> None:
        """To be called whenever it has answered just now, whatever it was asked."""
        now = self._monotonic()
        self._attended += min(now - self._answered_at, self._longest_gap)
        self._answered_at = now

    def look(self, versions: Mapping[Key, object], lease: timedelta) -> Mapping[Key, timedelta]:
        """As `Standstills.look`, of what has just been answered."""
        self._longest_gap = lease.total_seconds() / GAPS
        self.answered()
        return self._standstills.look(versions)

    def begin_again(self) -> None:
        """To be called when it answers, but nobody can give a sign of life."""
        self._standstills.look({})
