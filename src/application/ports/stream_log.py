"""The events of running answers, where their readers find them at once."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import AnswerEvent
from llm_backend.domain.ids import AnswerId


class LogReader(Protocol):
    """Reads along with whoever writes an answer, without a task that has to wake up for every piece of it."""

    @property
    def after(self) -> int:
        """The number of the last event that it has taken; 0 before the first."""

    def take(self, events: Sequence[NumberedEvent]) -> bool:
        """All that is new, never empty. True when it wants no more for now. Must not wait."""


class StreamLog(Protocol):
    """The events of each open answer, numbered 1, 2, 3 … without gaps."""

    def open(self, answer: AnswerId) -> None:
        """Start an empty log; readers may follow from here on."""

    def append(self, answer: AnswerId, events: Sequence[AnswerEvent]) -> int:
        """Add events and wake the readers; return the number of the last. Never waits, and wakes nobody twice."""

    def close(self, answer: AnswerId) -> None:
        """No more events will come: readers end when they have read all. The log may be forgotten after a while.

        Closing twice, or closing what was never opened, is no error.
        """

    def is_open(self, answer: AnswerId) -> bool:
        """Whether the answer is being written here."""

    def follow(self, answer: AnswerId, *, after: int = 0) -> AsyncIterator[Sequence[NumberedEvent]]:
        """What is there, then what arrives, in batches of all that is new, never empty; ends when the log is closed.

        Any number of readers follow at once, each sees every event after `after` exactly once. Raises
        `AnswerNotFound` at the first step when the log is unknown or has been forgotten.
        """

    async def push(self, answer: AnswerId, reader: LogReader) -> None:
        """The same for a reader that is called: with what is there, then within each `append`.

        Returns when the reader wants no more, or has read all and the log is closed. Raises what `follow` does, and
        what the reader raises, which the one who appends does not notice.
        """
