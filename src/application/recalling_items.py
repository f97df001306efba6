"""Items that have been said before, in whichever conversation of their owner, also in that of a single response."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llm_backend.application.composing_responses import said_of
from llm_backend.application.ports.views import ConversationViews
from llm_backend.domain.conversations import Message
from llm_backend.domain.errors import ConversationNotFound, ItemNotFound
from llm_backend.domain.ids import UserId
from llm_backend.domain.items import Item, Reference, Removed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedItem:
    """An item, and where it is: the `index`th of a message."""

    message: Message
    index: int
    item: Item

    @property
    def place(self) -> tuple[int, int]:
        return self.message.number, self.index


def placed(messages: Iterable[Message]) -> Iterator[PlacedItem]:
    """All items of messages, in order. Those that were removed have kept their places and are left out."""
    for message in messages:
        for index, item in enumerate(message.items or [said_of(message)]):
            if not isinstance(item, Removed):
                yield PlacedItem(message=message, index=index, item=item)


@dataclass(frozen=True, slots=True)
class RecallItem:
    """What a reference stands for."""

    views: ConversationViews

    async def __call__(self, owner: UserId, wanted: Reference) -> Item:
        """Raises `ItemNotFound`."""
        try:
            return (await self.placed(owner, wanted, unlisted=True)).item
        except ConversationNotFound as error:
            raise ItemNotFound from error

    async def placed(self, owner: UserId, wanted: Reference, *, unlisted: bool = False) -> PlacedItem:
        """The same, and where it is. Raises `ItemNotFound` or `ConversationNotFound`."""
        number = wanted.number
        thread = await self.views.stretch(
            owner, wanted.conversation, first=number, last=number, limit=1, unlisted=unlisted
        )
        for one in placed(thread.messages):
            if one.index == wanted.index and isinstance(one.item, wanted.kind):
                return one
        raise ItemNotFound
