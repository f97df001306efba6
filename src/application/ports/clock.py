"""Time and chance, from outside."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Return the present time, timezone-aware. It may jump, also backwards."""

    def __call__(self) -> datetime: ...


class IdSource(Protocol):
    """Ids nobody can guess."""

    def number(self) -> int:
        """A random integer, above 0 and at most `domain.ids.LARGEST_ID`."""

    def uuid(self) -> str:
        """A random UUID in text form."""

    def token(self) -> str:
        """256 random bits in letters, digits, `-` and `_`."""
