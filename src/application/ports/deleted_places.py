"""Where deleted things were in lists."""

from datetime import datetime, timedelta
from typing import Protocol


class DeletedPlaces(Protocol):
    """Noted down by the repositories when something goes, so that the views find the page that comes after it."""

    async def forget(self, *, now: datetime, kept_for: timedelta) -> int:
        """Forget the places that an earlier call came across at least `kept_for` ago, and come across the others.
        Return how many are forgotten. A place is kept for longer than `kept_for`, however the calls are timed."""
