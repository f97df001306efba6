"""Stop signals within the process."""

from collections.abc import Callable

from llm_backend.domain.ids import AnswerId


class MemoryStopSignals:
    """For a process that is alone."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[AnswerId], None]] = []

    async def publish(self, answer: AnswerId) -> None:
        for on_stop in self._subscribers:
            on_stop(answer)

    def subscribe(self, on_stop: Callable[[AnswerId], None]) -> None:
        self._subscribers.append(on_stop)
