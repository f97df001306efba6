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
    """The events of each open answer, numbered without gaps from where it was opened.

    A log may be shared: what one replica writes can then be followed on every other.
    """

    def open(self, answer: AnswerId, *, after: int = 0) -> None:
        """Start an empty log, whose first event gets the number `after` + 1; readers may follow from here on.

        `after` is for an answer that was begun elsewhere: what came up to that number is in the journal already.
        """

    def append(self, answer: AnswerId, events: Sequence[AnswerEvent]) -> int:
        """Add events and wake the readers; return the number of the last. Never waits, and wakes nobody twice.

        Readers may see them a little later: not before those who follow elsewhere can find them, too.
        """

    def close(self, answer: AnswerId) -> None:
        """No more events will come: readers end when they have read all. The log may be forgotten after a while.

        Closing twice, or closing what was never opened, is no error.
        """

    def is_open(self, answer: AnswerId) -> bool:
        """Whether the answer is being written here."""

    def follow(self, answer: AnswerId, *, after: int = 0) -> AsyncIterator[Sequence[NumberedEvent]]:
        """What is there, then what arrives, in batches of all that is new, never empty; ends when the log is closed.

        Any number of readers follow at once, each sees every event after `after` exactly once. Raises
        `AnswerNotFound` at the first step when the log is unknown, has been forgotten, or does not hold what comes
        right after `after`. Of an answer that is written elsewhere also between two batches: when there is no way to
        it, when nothing was heard of it for a while, or when its writer has changed. The reader then goes by the
        journal, and may try again.
        """

    async def starts_after(self, answer: AnswerId) -> int:
        """The `after` with which the log was opened, by its last writer if there were several; 0 when it is unknown.

        Whatever is numbered up to there will never be in this log, and was in the journal when it was opened.
        """

    async def tail(self, answer: AnswerId, *, after: int) -> Sequence[NumberedEvent]:
        """What can be known here of an answer that is written elsewhere: its events right after `after`, without gaps
        but those where a log was opened further on.

        Empty when nothing is known. For a replica that takes the answer over from one that died: readers may have seen
        more of it than the journal has.
        """

    async def push(self, answer: AnswerId, reader: LogReader, *, after: int) -> bool:
        """The same as `follow` for a reader that is called: with what is there, then within each `append`.

        True when the reader wants no more or has had the last event of the answer; False when the log was closed
        before that. Raises what `follow` does, and what the reader raises, which the one who appends does not notice.
        """
