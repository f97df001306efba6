"""The life of an answer, as the events that its readers follow.

Every answer is a numbered row of events: `Delta` …, then `Cited` when it rests on documents, then `Done` and
`FullText`; or `Failed` in their place. Numbers rise by one from 1. The last event is a `FullText` or a `Failed`.
The one exception to "by one": see `INTERRUPTION_GAP`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from llm_backend.domain.citations import Citation
from llm_backend.domain.conversations import Seam, TokenUsage
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.domain.knowledge import Relevance

LONGEST_ANSWER = 4 * 1024 * 1024  # characters

# The `Failed` that closes an answer whose process died is numbered this much past the last event that was stored:
# readers may have seen deltas that were not stored yet, and must still find a number that is new to them.
# No answer has that many deltas.
INTERRUPTION_GAP = LONGEST_ANSWER + 1

STOPPED = "stopped"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text, as the provider sent it. Never empty, but in a `CallPiece`."""

    text: str


@dataclass(frozen=True, slots=True)
class Continued(Delta):
    """The first piece of another model, which goes on with an answer that broke off. To readers it is text like any."""

    seam: Seam


@dataclass(frozen=True, slots=True)
class CallPiece(Delta):
    """A piece of a function call that the model asks for, in a batch without text. Its `text` is always empty.

    `index` tells the calls of an answer apart; `call_id` and `name` are there with the first piece of each.
    """

    index: int
    arguments: str = ""
    call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Cited:
    """What the answer rests on, and whether what was found has to do with the question at all."""

    citations: tuple[Citation, ...]
    relevance: Relevance = Relevance.HIGH


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete and stored. `finish_reason` is the provider's word for how it came to its end."""

    usage: TokenUsage | None = None
    finish_reason: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FullText:
    """The whole answer once more."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer ended early; `code` is that of a `DomainError`, or `stopped` or `interrupted`."""

    code: str
    message: str


AnswerEvent: TypeAlias = Delta | Cited | Done | FullText | Failed


def is_last(event: AnswerEvent) -> bool:
    return isinstance(event, (FullText, Failed))


class AnswerState(StrEnum):
    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer: to which question of whose conversation, and how far it is.

    `number` is the number of the message it becomes, the question's plus one.
    """

    id: AnswerId
    owner: UserId
    conversation: ConversationId
    number: int
    state: AnswerState = AnswerState.RUNNING
