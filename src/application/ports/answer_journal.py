"""The durable record of answers: what a restart, another replica or a late reader goes by."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.answers import Answer, AnswerEvent
from llm_backend.domain.conversations import Conversation, Message
from llm_backend.domain.ids import AnswerId, ApiKeyId, ConversationId, UserId
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.responses import ResponseRequest
from llm_backend.domain.usage import UsageKind

NumberedEvent = tuple[int, AnswerEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and the answer that is about to be written to it.

    `response` makes it one that can be built upon by its id; `opens` is the conversation that it has for itself. `key`
    is that which is charged, if any.
    """

    question: Message
    answer: Answer
    started_at: datetime
    idempotency: IdempotencyKey | None = None
    grounding: Grounding | None = None
    response: ResponseRequest | None = None
    opens: Conversation | None = None
    key: ApiKeyId | None = None

    @property
    def kind(self) -> UsageKind:
        return UsageKind.ANSWER if self.response is None else UsageKind.RESPONSE


class Part(NamedTuple):
    """Some events of an answer, numbered from `first` on."""

    answer: AnswerId
    first: int
    events: Sequence[AnswerEvent]


class AnswerJournal(Protocol):
    """Turns, and the events of their answers. Each process has its own view of it: the answers that it holds (see
    `AnswerLeases`) are those that it began or took over, and to no others can it write.

    What a method has done when it returns survives a power cut. Many answers write at once, so an adapter should let
    them share commits. Every method may raise `DatabaseUnavailable` or `StorageFull`: nothing has happened then, or all
    of it has and only the word of it was lost. So each may be called again with the same arguments.
    """

    async def begin(self, turn: Turn) -> AnswerId:
        """Append the question and open the answer; all or nothing.

        Return the answer's id; or, when its idempotency key was used for the same request before, the id of the
        answer that came of that, and do nothing. Raises `ConversationNotFound` when the conversation is not (or no
        longer) the owner's, `AnswerInProgress` when another answer is running there or the question's number is
        taken, and `IdempotencyMismatch`.
        """

    async def checkpoint(self, parts: Sequence[Part]) -> None:
        """Append events of any number of answers; each part replaces what was stored under the same `first` before.
        Nothing happens to an answer that is gone, has ended or is held by another."""

    async def finish(self, answer: AnswerId, first: int, events: Sequence[AnswerEvent], message: Message) -> bool:
        """Append the last events and the finished message, and close the answer: its conversation takes the next
        question from here on. False, and nothing happens, when the answer is gone, has ended otherwise or is held by
        another; True again when it has ended with this very message."""

    async def withdraw(self, answer: AnswerId) -> None:
        """Undo `begin`, question, idempotency record and all that it opened included: no word of an answer ever came.

        Nothing happens when the answer has ended or is held by another.
        """

    async def find(self, owner: UserId, answer: AnswerId) -> Answer:
        """Raises `AnswerNotFound`."""

    async def latest(self, owner: UserId, conversation: ConversationId) -> Answer | None:
        """The running or last answer. Raises `ConversationNotFound`, also for one that belongs to a single response."""

    async def answer_for(self, owner: UserId, key: IdempotencyKey) -> AnswerId | None:
        """What came of that key, if anything. Raises `IdempotencyMismatch`."""

    async def events(self, answer: AnswerId, *, after: int = 0) -> Sequence[NumberedEvent]:
        """The stored events numbered above `after`; none when they have been forgotten."""

    async def forget_events_before(self, moment: datetime) -> int:
        """Drop the events (not the messages) of answers that ended before; return how many answers."""
