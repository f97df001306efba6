"""Conversations in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from llm_backend.application.ports.views import LARGEST_NUMBER
from llm_backend.domain.conversations import Conversation, ConversationSummary, Message, Thread
from llm_backend.domain.errors import AnswerInProgress, ConversationIdTaken, ConversationNotFound, CursorNotFound
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.infrastructure.memory.deleted_places import note_place, number_of_deleted
from llm_backend.infrastructure.memory.tables import Place, Tables


@dataclass(frozen=True, slots=True)
class MemoryConversations:
    """Conversations by id."""

    place: Place

    async def add(self, conversation: Conversation, messages: Sequence[Message] = ()) -> None:
        tables = self.place.tables
        if conversation.id in tables.conversations:
            raise ConversationIdTaken
        tables.conversations[conversation.id] = replace(conversation)
        tables.number(conversation.id)
        if messages:
            tables.messages[conversation.id] = tuple(messages)

    async def get(self, owner: UserId, conversation: ConversationId) -> Conversation:
        return replace(conversation_of(self.place.tables, owner, conversation))

    async def describe(self, conversation: Conversation) -> None:
        tables = self.place.tables
        found = conversation_of(tables, conversation.owner, conversation.id)
        tables.conversations[found.id] = replace(found, metadata=dict(conversation.metadata))

    async def append(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        tables = self.place.tables
        found = conversation_of(tables, conversation.owner, conversation.id)
        rows = tables.answers.values()
        is_running = any(row.answer.conversation == found.id and row.ended_at is None for row in rows)
        if is_running or found.last_number != conversation.last_number - len(messages):
            raise AnswerInProgress
        tables.conversations[found.id] = replace(found, last_number=conversation.last_number)
        tables.messages[found.id] = (*tables.messages.get(found.id, ()), *messages)

    async def message(self, conversation: Conversation, number: int) -> Message | None:
        said = self.place.tables.messages.get(conversation.id, ())
        return next((message for message in said if message.number == number), None)

    async def rewrite(self, conversation: Conversation, message: Message) -> None:
        said = self.place.tables.messages
        before = said.get(conversation.id, ())
        said[conversation.id] = tuple(message if one.number == message.number else one for one in before)
        answers = [row.answer for row in self.place.tables.answers.values()]
        for answer in answers:
            if (answer.conversation, answer.number) == (conversation.id, message.number):
                self.place.tables.events.pop(answer.id, None)

    async def remove(self, owner: UserId, conversation: ConversationId) -> None:
        found = conversation_of(self.place.tables, owner, conversation)
        note_place(self.place.tables, owner, conversation)
        drop_conversation(self.place.tables, found)


@dataclass(frozen=True, slots=True)
class MemoryConversationViews:
    """Conversations to look at."""

    place: Place

    async def summaries(
        self, owner: UserId, *, limit: int | None = None, before: ConversationId | None = None
    ) -> Sequence[ConversationSummary]:
        tables = self.place.tables
        newest_first = [one for one in reversed(tables.conversations.values()) if one.owner == owner and one.listed]
        if before is not None:
            is_there = any(one.id == before for one in newest_first)
            number = tables.numbers[before] if is_there else number_of_deleted(tables, owner, before)
            if number is None:
                raise CursorNotFound(param="before")
            newest_first = [one for one in newest_first if tables.numbers[one.id] < number]
        return [_summary(one) for one in islice(newest_first, limit)]

    async def thread(
        self, owner: UserId, conversation: ConversationId, *, limit: int | None = None, unlisted: bool = False
    ) -> Thread:
        tables = self.place.tables
        found = conversation_of(tables, owner, conversation, unlisted=unlisted)
        messages = tables.messages.get(conversation, ())
        first = 0 if limit is None else max(0, len(messages) - limit)
        return Thread(conversation=replace(found), messages=messages[first:])

    async def stretch(
        self,
        owner: UserId,
        conversation: ConversationId,
        *,
        first: int = 0,
        last: int = LARGEST_NUMBER,
        limit: int,
        newest_first: bool = False,
        unlisted: bool = False,
    ) -> Thread:
        thread = await self.thread(owner, conversation, unlisted=unlisted)
        there = [message for message in thread.messages if first <= message.number <= last]
        return Thread(conversation=thread.conversation, messages=(there[::-1] if newest_first else there)[:limit])


def conversation_of(
    tables: Tables, owner: UserId, conversation: ConversationId, *, unlisted: bool = False
) -> Conversation:
    """The stored one, not a copy. Raises `ConversationNotFound`."""
    found = tables.conversations.get(conversation)
    if found is None or found.owner != owner or not (found.listed or unlisted):
        raise ConversationNotFound
    return found


def drop_conversation(tables: Tables, conversation: Conversation) -> None:
    """With all that was said in it, and the keys of the requests for that."""
    rows = [row for row in tables.answers.values() if row.answer.conversation == conversation.id]
    for row in rows:
        del tables.answers[row.answer.id]
        tables.events.pop(row.answer.id, None)
        if row.idempotency is not None:
            tables.idempotency.pop((conversation.owner, row.idempotency.key), None)
    tables.messages.pop(conversation.id, None)
    del tables.conversations[conversation.id], tables.numbers[conversation.id]


def _summary(conversation: Conversation) -> ConversationSummary:
    return ConversationSummary(id=conversation.id, title=conversation.title, created_at=conversation.created_at)
