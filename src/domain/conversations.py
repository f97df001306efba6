"""Conversations: a question, its answer, the next question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from llm_backend.domain.citations import Citation
from llm_backend.domain.errors import InvalidApiKey, InvalidMessage, InvalidTitle, UnknownModel
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.items import Item, Removed
from llm_backend.domain.secrets import SealedSecret
from llm_backend.domain.text import has_control_characters, is_storable

LONGEST_TITLE = 255
LONGEST_MODEL = 255
LONGEST_API_KEY = 512


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class MessageState(StrEnum):
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens as the provider counted them; as estimated, of models that broke off before another one went on.

    Of the prompt, `cached` had been read before, and of the completion, `reasoning` was not shown; 0 where nobody said.
    """

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """Where another model went on with an answer that broke off.

    `at` counts the characters before it, `model` is who wrote what follows, and `reason` is the code of the failure.
    """

    at: int
    model: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of one side. Messages are only ever appended; `number` counts 1, 2, 3 … within the conversation;
    0 is a system message that a conversation from elsewhere began with.

    An incomplete message says in `reason` (an error code, `stopped` or `interrupted`) why its text ends early.
    `model` is who was asked; `seams` say who else wrote it, from where on, in the order of the text. A complete one
    that the model was not allowed to finish says `length` or `content_filter` there. `items` are what was said in full,
    where that is more than `text`.
    """

    number: int
    role: Role
    text: str
    state: MessageState = MessageState.COMPLETE
    reason: str | None = None
    model: str | None = None
    usage: TokenUsage | None = None
    citations: tuple[Citation, ...] = ()
    seams: tuple[Seam, ...] = ()
    items: tuple[Item, ...] = ()
    created_at: datetime

    @property
    def ends_early(self) -> bool:
        """Whether there would have been more of it."""
        return self.state is MessageState.INCOMPLETE or self.reason is not None

    @property
    def is_removed(self) -> bool:
        """Whether nothing is left of it but its place."""
        return bool(self.items) and all(isinstance(item, Removed) for item in self.items)


@dataclass(slots=True, kw_only=True)
class Conversation:
    """A thread of messages with one model, seen by its owner alone.

    `last_number` is the number of its newest message. `api_key`, when the user gave one, goes before the server's. One
    that is not `listed` belongs to a single response. `metadata` is the client's.
    """

    id: ConversationId
    owner: UserId
    title: str
    model: str
    api_key: SealedSecret | None = None
    last_number: int = 0
    listed: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime

    def __post_init__(self) -> None:
        check_title(self.title)
        check_model(self.model)

    def ask(self, text: str, *, at: datetime) -> Message:
        """The user's next message, with the text exactly as typed."""
        if not text.strip() or not is_storable(text):
            raise InvalidMessage
        self.last_number += 1
        return Message(number=self.last_number, role=Role.USER, text=text, created_at=at)

    def add(self, role: Role, text: str, items: Sequence[Item] = (), *, at: datetime) -> Message:
        """The next message, of whomever. `items` are checked by whoever made them."""
        self.last_number += 1
        return Message(number=self.last_number, role=role, text=text, items=tuple(items), created_at=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """One line in the list of conversations."""

    id: ConversationId
    title: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A conversation and its messages in order: all of them, or the newest that were asked for."""

    conversation: Conversation
    messages: Sequence[Message]


class Conversations(Protocol):
    """The conversations of everybody; each method sees only those of `owner`, and none that is not `listed`: that comes
    and goes with its response."""

    async def add(self, conversation: Conversation, messages: Sequence[Message] = ()) -> None:
        """With what was said before it came here, in order. Raises `ConversationIdTaken`, whoever has that id."""

    async def get(self, owner: UserId, conversation: ConversationId) -> Conversation:
        """Raises `ConversationNotFound`."""

    async def describe(self, conversation: Conversation) -> None:
        """Store its `metadata`. Raises `ConversationNotFound`."""

    async def append(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        """The newest messages, which `last_number` counts already. Raises `AnswerInProgress` when another was quicker
        or an answer is being written."""

    async def message(self, conversation: Conversation, number: int) -> Message | None:
        """Nobody else changes it before the end of this transaction."""

    async def rewrite(self, conversation: Conversation, message: Message) -> None:
        """Put a message in the place of the one with its number, and drop the events of the answer that this was, if it
        was one: they say what it said. Nothing happens when it is gone."""

    async def remove(self, owner: UserId, conversation: ConversationId) -> None:
        """It and its messages, answers and events are gone with the commit. Raises `ConversationNotFound`."""


def check_title(title: str) -> None:
    if not 1 <= len(title) <= LONGEST_TITLE or not title.strip() or not is_storable(title):
        raise InvalidTitle


def check_model(model: str) -> None:
    if not 1 <= len(model) <= LONGEST_MODEL or has_control_characters(model) or not is_storable(model):
        raise UnknownModel


def check_api_key(key: str) -> None:
    """Keys travel in an HTTP header, so anything but printable ASCII could only be an attack or a mistake."""
    if not 1 <= len(key) <= LONGEST_API_KEY or not all("!" <= character <= "~" for character in key):
        raise InvalidApiKey
