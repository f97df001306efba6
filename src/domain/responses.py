"""Responses: answers that can be built upon one by one, in a conversation or in branches of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from llm_backend.domain.answers import Answer
from llm_backend.domain.citations import Source
from llm_backend.domain.conversations import Message
from llm_backend.domain.ids import AnswerId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRequest:
    """What a response was asked for, besides its input.

    `searched` are the texts by which documents were looked for. `options` go to the model's server as they are;
    `shown` are what the client has asked for in its own words, to be shown again. Both are JSON.
    """

    model: str
    instructions: str | None = None
    previous: AnswerId | None = None
    background: bool = False
    searched: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    shown: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer with all that belongs to it; `reply` is None until it has ended.

    One that is not `in_conversation` has a conversation of its own, which nobody sees.
    """

    answer: Answer
    request: ResponseRequest
    in_conversation: bool
    question: Message
    reply: Message | None
    sources: Sequence[Source] = ()
    started_at: datetime


class Responses(Protocol):
    """The responses of everybody; each method sees only those of `owner`."""

    async def remove(self, owner: UserId, response: AnswerId) -> None:
        """It is gone with the commit, and with it what is in no conversation, and the events of what has ended. Raises
        `ResponseNotFound`."""
