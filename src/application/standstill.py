"""Telling for how long things have stood still, whatever the clocks on the wall do."""

import time
from collections.abc import Callable, Hashable, Mapping
from datetime import timedelta
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


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
