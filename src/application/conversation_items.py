"""Conversations as rows of items: begin one, describe it, add to it, and take from it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.application.composing_responses import said_of
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.file_views import Slice
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.model_catalogue import ModelCatalogue
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.views import LARGEST_NUMBER, ConversationViews
from llm_backend.application.reading_inputs import ReadInputFiles
from llm_backend.application.recalling_items import PlacedItem, RecallItem, placed
from llm_backend.application.responses import check_items
from llm_backend.domain.conversations import LONGEST_TITLE, Conversation, Message, Role, Thread
from llm_backend.domain.errors import AnswerInProgress, CursorNotFound, InvalidInput, ItemNotFound
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.items import FunctionCall, FunctionResult, Given, Item, Reference, Removed, Said, Speaker
from llm_backend.domain.text import is_storable

MOST_ITEMS = 20  # at once
MOST_METADATA = 16
LONGEST_METADATA_KEY = 64
LONGEST_METADATA_VALUE = 512
UNTITLED = "New conversation"
NO_MODEL = "unspecified"


Place = tuple[int, int]
"""The number of a message, and the index of an item in it."""
NOWHERE: Place = (0, 0)  # the first message is number 1
UNSETTLED = 2  # behind the last message: a question that was taken back, and its answer, have been streamed nonetheless


@dataclass(frozen=True, slots=True)
class OpenConversation:
    """Begin a conversation without a question. Its model, for those who ask in it without naming one, is the first that
    is configured by name."""

    transactions: UnitOfWorkFactory
    catalogue: ModelCatalogue
    read_files: ReadInputFiles
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        metadata: Mapping[str, str],
        items: Sequence[Given],
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> Conversation:
        """Raises `InvalidInput`, `IdempotencyMismatch`, or what `ReadInputFiles` does."""
        _check_metadata(metadata)
        check_number(items)
        read = await self.read_files(owner, items)
        at = self.now()
        models = await self.catalogue.models()
        conversation = Conversation(
            id=ConversationId(self.ids.number()),
            owner=owner,
            title=metadata.get("title", "").strip()[:LONGEST_TITLE] or UNTITLED,
            model=models[0].id if models else NO_MODEL,
            metadata=dict(metadata),
            created_at=at,
        )
        messages = [_message(conversation, item, at) for item in read]
        try:
            return await self._add(conversation, messages, idempotency)
        except AlreadyRecorded:
            return await self._add(conversation, messages, idempotency)  # finds what the faster one made

    async def _add(
        self, conversation: Conversation, messages: Sequence[Message], idempotency: IdempotencyKey | None
    ) -> Conversation:
        async with self.transactions() as work:
            if idempotency and (made := await work.idempotency.outcome(conversation.owner, idempotency)):
                return await work.conversations.get(conversation.owner, ConversationId(int(made)))
            await work.conversations.add(conversation, messages)
            if idempotency:
                await work.idempotency.record(
                    conversation.owner, idempotency, str(conversation.id), at=conversation.created_at
                )
            await work.commit()
        return conversation


@dataclass(frozen=True, slots=True)
class ReadItems:
    """A conversation with everything in it."""

    views: ConversationViews

    async def __call__(self, owner: UserId, conversation: ConversationId, *, limit: int | None = None) -> Thread:
        """The newest `limit` messages, or all. Raises `ConversationNotFound`."""
        return await self.views.thread(owner, conversation, limit=limit)

    async def item(self, owner: UserId, wanted: Reference) -> PlacedItem:
        """Raises `ConversationNotFound` or `ItemNotFound`."""
        return await RecallItem(self.views).placed(owner, wanted)

    async def page(self, owner: UserId, conversation: ConversationId, part: Slice[Place]) -> Sequence[PlacedItem]:
        """A part of its items, whether those that it is told by are still there or not. Looks at no more messages than
        it takes. Raises `ConversationNotFound` or `CursorNotFound`."""
        newest_first = part.newest_first is not part.ends
        first, last = _numbers(part)
        found: list[PlacedItem] = []
        while True:
            thread = await self.views.stretch(
                owner, conversation, first=first, last=last, limit=max(part.limit, 1), newest_first=newest_first
            )
            check_places(part, last=thread.conversation.last_number + UNSETTLED)
            found += placed(thread.messages)
            page = part_of(found, part)
            if len(page) >= part.limit or len(thread.messages) < part.limit:
                return page
            reached = thread.messages[-1].number
            first, last = (first, reached - 1) if newest_first else (reached + 1, last)

    async def numbered(self, owner: UserId, conversation: ConversationId, numbers: range) -> Sequence[Message]:
        """The messages with these numbers. Raises `ConversationNotFound`."""
        first, last = numbers[0], numbers[-1]
        return (await self.views.stretch(owner, conversation, first=first, last=last, limit=len(numbers))).messages


def part_of(items: Iterable[PlacedItem], part: Slice[Place]) -> Sequence[PlacedItem]:
    """A part of these, in the order that is wanted."""
    low, high = _ends(part)
    there = [one for one in items if (low is None or low < one.place) and (high is None or one.place < high)]
    there.sort(key=lambda one: one.place, reverse=part.newest_first)
    return there[max(len(there) - part.limit, 0) :] if part.ends else there[: part.limit]


def check_places(part: Slice[Place], *, first: int = 1, last: int) -> None:
    """Items that are gone have left their place among the messages. Raises `CursorNotFound` for a neighbour in none of
    these messages."""
    if part.after is not None and not first <= part.after[0] <= last:
        raise CursorNotFound(param="after")
    if part.before is not None and not first <= part.before[0] <= last:
        raise CursorNotFound(param="before")


def _ends(part: Slice[Place]) -> tuple[Place | None, Place | None]:
    """The older one and the newer one."""
    return (part.before, part.after) if part.newest_first else (part.after, part.before)


def _numbers(part: Slice[Place]) -> tuple[int, int]:
    low, high = _ends(part)
    return low[0] if low else 0, high[0] if high else LARGEST_NUMBER


@dataclass(frozen=True, slots=True)
class DescribeConversation:
    """Give a conversation other metadata."""

    transactions: UnitOfWorkFactory
    read: ReadItems

    async def __call__(self, owner: UserId, conversation: ConversationId, metadata: Mapping[str, str]) -> Conversation:
        """Raises `ConversationNotFound` or `InvalidInput`."""
        found = (await self.read(owner, conversation, limit=1)).conversation
        _check_metadata(metadata)
        found.metadata = dict(metadata)
        async with self.transactions() as work:
            await work.conversations.describe(found)
            await work.commit()
        return found


@dataclass(frozen=True, slots=True)
class AddItems:
    """Say something in a conversation without asking for an answer."""

    transactions: UnitOfWorkFactory
    read: ReadItems
    read_files: ReadInputFiles
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        conversation: ConversationId,
        items: Sequence[Given],
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> Sequence[Message]:
        """One message for each item. The same key gives the same messages, as they are now. Raises
        `ConversationNotFound`, `InvalidInput`, `IdempotencyMismatch`, what `ReadInputFiles` does, or
        `AnswerInProgress`."""
        await self.read(owner, conversation, limit=1)
        check_number(items)
        if idempotency and (added := await self._outcome(owner, idempotency)):
            return await self._added(owner, conversation, added)
        read = await self.read_files(owner, items)
        try:
            return await self._add(owner, conversation, read, idempotency)
        except (AlreadyRecorded, AnswerInProgress):  # perhaps by the same request, which was faster
            if idempotency and (added := await self._outcome(owner, idempotency)):
                return await self._added(owner, conversation, added)
            raise

    async def _add(
        self,
        owner: UserId,
        conversation: ConversationId,
        items: Sequence[Item],
        idempotency: IdempotencyKey | None,
    ) -> Sequence[Message]:
        found = (await self.read(owner, conversation, limit=1)).conversation
        at = self.now()
        messages = [_message(found, item, at) for item in items]
        async with self.transactions() as work:
            if idempotency:
                if await work.idempotency.outcome(owner, idempotency):
                    raise AlreadyRecorded
                await work.idempotency.record(owner, idempotency, f"{found.last_number} {len(messages)}", at=at)
            await work.conversations.append(found, messages)
            await work.commit()
        return messages

    async def _outcome(self, owner: UserId, idempotency: IdempotencyKey) -> str | None:
        async with self.transactions() as work:
            return await work.idempotency.outcome(owner, idempotency)

    async def _added(self, owner: UserId, conversation: ConversationId, outcome: str) -> Sequence[Message]:
        """`outcome` is the number of the last message, and how many there were."""
        last, count = map(int, outcome.split())
        return await self.read.numbered(owner, conversation, range(last - count + 1, last + 1))


@dataclass(frozen=True, slots=True)
class RemoveItem:
    """Delete an item, for good; the others stay where they are."""

    transactions: UnitOfWorkFactory
    read: ReadItems

    async def __call__(self, owner: UserId, wanted: Reference) -> Conversation:
        """The conversation without it. Raises `ConversationNotFound` or `ItemNotFound`."""
        found = (await self.read(owner, wanted.conversation, limit=1)).conversation
        async with self.transactions() as work:
            message = await work.conversations.message(found, wanted.number)
            await work.conversations.rewrite(found, _without(message, wanted))
            await work.commit()
        return found


def _without(message: Message | None, wanted: Reference) -> Message:
    """Raises `ItemNotFound`."""
    items = list(message.items or [said_of(message)]) if message else []
    if message is None or wanted.index >= len(items) or not isinstance(items[wanted.index], wanted.kind):
        raise ItemNotFound
    items[wanted.index] = Removed()
    text = "\n\n".join(item.text for item in items if isinstance(item, Said))
    return replace(message, text=text, items=tuple(items))


def check_number(items: Sequence[Given]) -> None:
    """Raises `InvalidInput`."""
    if len(items) > MOST_ITEMS:
        raise InvalidInput(f"At most {MOST_ITEMS} items can be added at once")
    check_items(items)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    fits = len(metadata) <= MOST_METADATA and all(
        len(key) <= LONGEST_METADATA_KEY and len(value) <= LONGEST_METADATA_VALUE and is_storable(key + value)
        for key, value in metadata.items()
    )
    if not fits:
        raise InvalidInput("Metadata are at most 16 pairs of keys up to 64 and values up to 512 characters")


def _message(conversation: Conversation, item: Item, at: datetime) -> Message:
    if isinstance(item, Said) and item.is_plain and item.speaker is not Speaker.DEVELOPER:
        return conversation.add(Role(item.speaker.value), item.text, at=at)
    return conversation.add(_role(item), _text(item), [item], at=at)


def _role(item: Item) -> Role:
    match item:
        case Said(speaker=Speaker.ASSISTANT) | FunctionCall():
            return Role.ASSISTANT
        case Said(speaker=Speaker.USER) | FunctionResult():
            return Role.USER
        case _:
            return Role.SYSTEM


def _text(item: Item) -> str:
    match item:
        case Said():
            return item.text
        case FunctionResult():
            return item.output
        case _:
            return ""
