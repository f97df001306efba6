"""The wish to end an answer, told to whoever writes it."""

from collections.abc import Callable
from typing import Protocol

from llm_backend.domain.ids import AnswerId


class StopSignals(Protocol):
    """Told to all replicas at once. A signal may get lost: what must not be missed has to be stored as well."""

    async def publish(self, answer: AnswerId) -> None:
        """Tell every subscriber of every replica, this one included. Never raises."""

    def subscribe(self, on_stop: Callable[[AnswerId], None]) -> None:
        """From now on call this for every answer that is to be ended. It must neither wait nor raise."""
