"""A small world in which each call of a port can be made to fail, and the use cases that are tried in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.ports.jobs import JobId
from llm_backend.domain.errors import DatabaseUnavailable, Unavailable
from llm_backend.domain.ids import ConversationId, KnowledgeBaseId, UserId
from llm_backend.domain.users import Session
from llm_backend.infrastructure.memory.blobs import MemoryBlobs
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.security.passwords import Argon2Cost, Argon2Passwords
from llm_backend.testing.faults import Faults
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.unit.shelves import ParagraphParser

SOON = 60.0  # seconds
OLD, NEW = "correct horse", "battery staple"
TEXT = "The quick brown fox jumps over the lazy dog."


@dataclass(slots=True, kw_only=True)
class Sleeping(Faults):
    """Counts calls, and fails, only while it is awake."""

    awake: bool = False

    def counts(self, method: str) -> bool:
        return self.awake and Faults.counts(self, method)


@dataclass(slots=True)
class World:
    """A backend in memory over ports that may fail, and a user who has one of everything."""

    backend: Backend
    faults: Sleeping
    store: MemoryStore
    model: ScriptedChatModel
    file: Path
    ada: UserId = field(init=False)
    session: Session = field(init=False)
    talk: ConversationId = field(init=False)
    shelf: KnowledgeBaseId = field(init=False)

    async def furnish(self) -> None:
        self.ada = await self.backend.register_user("ada", OLD)
        self.session = await self.backend.authenticate(await self.backend.log_in("ada", OLD))
        self.talk = (await self.backend.create_conversation(self.ada, "Talk", "some-model")).id
        self.shelf = (await self.backend.create_knowledge_base(self.ada, "Shelf")).id
        await self.backend.upload_document(self.ada, self.shelf, self.file, "old.txt")

    async def settled(self) -> None:
        """What goes on in the background has come to its end, and the house has been kept."""
        await self.backend.keep_house()
        async with asyncio.timeout(SOON):
            await self.model.idle()
            while await self._unfinished():  # noqa: ASYNC110 - jobs tell only those who know them
                await asyncio.sleep(0.01)
        await self.backend.keep_house()

    async def _unfinished(self) -> bool:
        async with self.store.transactions() as work:
            documents = await work.documents.pending()
        answers = await self.store.leases.open_answers()
        return bool(answers or await self.store.jobs.unfinished([JobId(document) for document in documents]))

    async def conversations(self) -> set[ConversationId]:
        return {summary.id for summary in await self.backend.list_conversations(self.ada)}

    async def documents(self) -> list[str]:
        return [document.name for document in await self.backend.list_documents(self.ada, self.shelf)]

    async def check(self) -> None:
        """What holds whatever has happened: R4 and R5."""
        for conversation in await self.conversations():
            messages = (await self.backend.read_items(self.ada, conversation)).messages
            assert [message.number for message in messages] == list(range(1, len(messages) + 1))
            assert len(messages) % 2 == 0
        for shelf in await self.backend.list_knowledge_bases(self.ada):
            listed = {document.id for document in await self.backend.list_documents(self.ada, shelf.id)}
            found = await self.backend.retrieve(self.ada, shelf.id, "quick brown fox", top_k=50)
            assert {passage.document for passage in found.passages} <= listed
            assert bool(found.passages) == bool(listed)


@asynccontextmanager
async def a_world(folder: Path, faults: Sleeping) -> AsyncIterator[World]:
    file = folder / "old.txt"
    file.write_text(TEXT)
    store, model, passwords = MemoryStore(), ScriptedChatModel(), Argon2Passwords(Argon2Cost(time=1, memory=8))
    settings = Settings.from_mapping(
        {"data_folder": str(folder / "data"), "server": {"shutdown_grace": "0s"}, "jobs": {"first_pause": "10ms"}}
    )
    async with open_backend(
        settings,
        store=faults.wrap(store),
        blobs=faults.wrap(MemoryBlobs()),
        passage_index=faults.wrap(MemoryPassageIndex()),
        chat_model=model,
        passwords=passwords,
        parser=ParagraphParser(),
    ) as backend:
        world = World(backend, faults, store, model, file)
        await world.furnish()
        yield world
        faults.awake = False
    passwords.close()


class Case:
    """One use case. `act` is called twice: once with the fault, and once more when all is well again."""

    async def prepare(self, world: World) -> None:
        """What has to be there for it."""

    async def act(self, world: World) -> None:
        raise NotImplementedError

    async def calm(self, world: World) -> None:
        """End what would go on for ever."""

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        """Once everything has come to rest."""
        raise NotImplementedError


async def carried_out(act: Callable[[World], Awaitable[None]], world: World) -> bool:
    """Whether it was acknowledged. It ends in bounded time, and with nothing but an error that says what it is."""
    world.faults.awake = True
    try:
        async with asyncio.timeout(SOON):
            await act(world)
    except Unavailable:
        return False
    finally:
        world.faults.awake = False
    return True


async def cut_off_at_every_call(make: Callable[[], Case], folder: Path, *, afterwards: bool) -> None:
    """What was acknowledged is there; what was not is there whole or not at all, and asking again makes it so, once."""
    for at in count(1):
        faults = Sleeping(error=DatabaseUnavailable, at=at, afterwards=afterwards)
        async with a_world(folder, faults) as world:
            made = make()
            await made.prepare(world)
            acknowledged = await carried_out(made.act, world)
            struck = faults.struck

            await made.calm(world)
            await world.settled()
            await made.holds(world, acknowledged=acknowledged)
            await made.act(world)
            await world.settled()
            await made.holds(world, acknowledged=True)
            await world.check()
        if not struck:
            assert at > 2, "it hardly made a call"
            break
