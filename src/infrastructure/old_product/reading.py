"""Both stores of the old product as one."""

from collections.abc import AsyncIterator

from llm_backend.application.ports.old_product import OldConversation, OldUser, Unreadable
from llm_backend.infrastructure.old_product.database import Listed, OldDatabase
from llm_backend.infrastructure.old_product.messages import Broken, OldMessages, Said


class StoredOldProduct:
    """`OldProduct`. Blocks the thread while it reads SQLite: for commands, which have it to themselves."""

    def __init__(self, database: OldDatabase, messages: OldMessages) -> None:
        self._database = database
        self._messages = messages

    async def users(self) -> AsyncIterator[OldUser | Unreadable]:
        for user in self._database.users():
            yield user

    async def conversations(self) -> AsyncIterator[OldConversation | Unreadable]:
        """And in the end those that are nobody's."""
        listed: set[str] = set()
        for row in self._database.conversations():
            if isinstance(row, Unreadable):
                yield row
                continue
            listed.add(row.id)
            async for one in self._whole(row):
                yield one
        async for number in self._messages.ids():
            if number not in listed:
                listed.add(number)
                yield Unreadable(f"conversation {number[:40]!r}", "it is in Redis only, so nobody knows whose it is")

    async def _whole(self, row: Listed) -> AsyncIterator[OldConversation | Unreadable]:
        what = f"conversation {row.id}"
        try:
            said = await self._messages.of(row.id)
        except Broken as error:
            yield Unreadable(what, str(error))
            return
        if said is None:
            yield Unreadable(what, "it is not in Redis, where all that was said had been")
            return
        if said.lost:
            yield Unreadable(what, f"{said.lost} of its messages make no sense, and were left out")
        yield _joined(row, said)


def _joined(row: Listed, said: Said) -> OldConversation:
    return OldConversation(
        id=row.id,
        owner=row.owner,
        title=row.title or said.title,
        model=said.model,
        api_key=said.api_key,
        created_at=row.created_at or said.created_at,
        messages=said.messages,
    )
