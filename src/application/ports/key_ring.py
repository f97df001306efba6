"""The keys that seal secrets or sign tokens, of which the newest is in use."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Protocol


class KeyRing(Protocol):
    """Keys by their ids, which tell nothing about them. What is changed here, running servers notice by themselves."""

    @property
    def is_ours(self) -> bool:
        """Whether keys can be made and dropped here; those of a configuration are the operator's."""

    def key_ids(self) -> Sequence[str]:
        """Newest first; there is always one."""

    def unchanged_for(self) -> timedelta:
        """For how long, at least, the newest key has been the newest. Never negative."""

    def add(self) -> str:
        """Make a new key and return its id. Once this has returned, the key survives a power cut."""

    def drop(self, key_ids: Collection[str]) -> None:
        """Forget keys for good. The newest stays in any case; ids that are not known are no error."""
