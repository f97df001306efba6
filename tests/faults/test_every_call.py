"""Each use case that writes, cut off at each call of a port that it makes.

What was acknowledged is there; what was not is there whole or not at all, and asking for it again makes it so, once.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from itertools import count
from pathlib import Path

import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.ports.answer_journal import Part
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.answers import Delta
from llm_backend.domain.conversations import MessageState
from llm_backend.domain.errors import (
    DatabaseUnavailable,
    DocumentNotFound,
    NotFound,
    Unauthenticated,
    UsernameTaken,
    WrongCredentials,
)
from llm_backend.domain.ids import AnswerId, WriterId
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.testing.builders import a_turn
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel
from tests.faults.worlds import NEW, OLD, Case, Sleeping, World, a_world, cut_off_at_every_call

KEY = IdempotencyKey(key="k", fingerprint="f")


def reopened(folder: Path, store: MemoryStore) -> AbstractAsyncContextManager[Backend]:
    settings = Settings.from_mapping({"data_folder": str(folder / "data"), "server": {"shutdown_grace": "0s"}})
    return open_backend(settings, store=store, chat_model=ScriptedChatModel(), passage_index=MemoryPassageIndex())


class Register(Case):
    async def act(self, world: World) -> None:
        with suppress(UsernameTaken):
            await world.backend.register_user("bob", OLD)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        if acknowledged:
            assert await world.backend.log_in("bob", OLD)


class LogOut(Case):
    async def act(self, world: World) -> None:
        await world.backend.log_out(world.session)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        if acknowledged:
            assert not await world.store.session_views.is_live(world.session)


class ChangePassword(Case):
    async def act(self, world: World) -> None:
        with suppress(WrongCredentials):
            await world.backend.change_password(world.ada, OLD, NEW)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        good = [password for password in (OLD, NEW) if await self._is_good(world, password)]
        assert good == [NEW] if acknowledged else len(good) == 1
        assert await world.store.session_views.is_live(world.session) is (good == [OLD])

    async def _is_good(self, world: World, password: str) -> bool:
        try:
            return bool(await world.backend.log_in("ada", password))
        except (WrongCredentials, Unauthenticated):
            return False


class CreateConversation(Case):
    async def act(self, world: World) -> None:
        await world.backend.create_conversation(world.ada, "New", "some-model", idempotency=KEY)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = (await world.conversations()) - {world.talk}
        assert len(made) == 1 if acknowledged else len(made) <= 1


class DeleteConversation(Case):
    async def act(self, world: World) -> None:
        with suppress(NotFound):
            await world.backend.delete_conversation(world.ada, world.talk)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        if acknowledged:
            assert not await world.conversations()


class DeleteWhileAnswering(DeleteConversation):
    async def prepare(self, world: World) -> None:
        world.model.play_next("one ", FOREVER)
        await world.backend.send_message(world.ada, world.talk, "What?")
        await world.model.asked()

    async def calm(self, world: World) -> None:
        with suppress(NotFound):
            await world.backend.stop_answer(world.ada, world.talk)


class Send(Case):
    async def act(self, world: World) -> None:
        await world.backend.send_message(world.ada, world.talk, "What?", idempotency=KEY)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        messages = (await world.backend.read_history(world.ada, world.talk)).messages
        assert len(messages) == 2 if acknowledged else len(messages) in {0, 2}
        if messages:
            assert (messages[1].text, messages[1].state) == ("Hello, world", MessageState.COMPLETE)


class AskKnowledgeBase(Send):
    async def act(self, world: World) -> None:
        await world.backend.ask_knowledge_base(world.ada, world.talk, world.shelf, "quick brown fox", idempotency=KEY)


class Stop(Case):
    async def prepare(self, world: World) -> None:
        world.model.play_next("one ", FOREVER)
        await world.backend.send_message(world.ada, world.talk, "What?")
        await world.model.asked()

    async def act(self, world: World) -> None:
        await world.backend.stop_answer(world.ada, world.talk)

    async def calm(self, world: World) -> None:
        await self.act(world)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        messages = (await world.backend.read_history(world.ada, world.talk)).messages
        assert [message.text for message in messages] == ["What?", "one "]
        assert messages[1].reason == "stopped"


class CreateKnowledgeBase(Case):
    async def act(self, world: World) -> None:
        await world.backend.create_knowledge_base(world.ada, "New", idempotency=KEY)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = len(await world.backend.list_knowledge_bases(world.ada)) - 1
        assert made == 1 if acknowledged else made <= 1


class DeleteKnowledgeBase(Case):
    async def act(self, world: World) -> None:
        with suppress(NotFound):
            await world.backend.delete_knowledge_base(world.ada, world.shelf)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        if acknowledged:
            assert not await world.backend.list_knowledge_bases(world.ada)


class Submit(Case):
    async def act(self, world: World) -> None:
        await world.backend.submit_document(world.ada, world.shelf, world.file, "new.txt", idempotency=KEY)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = (await world.documents()).count("new.txt")
        assert made == 1 if acknowledged else made <= 1


class CancelUpload(Case):
    async def prepare(self, world: World) -> None:
        self.document = await world.backend.submit_document(world.ada, world.shelf, world.file, "new.txt")

    async def act(self, world: World) -> None:
        with suppress(DocumentNotFound):
            await world.backend.cancel_document(world.ada, self.document)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        """Whether it was in time is a matter of luck; `check` sees that it is not there by halves."""


class DeleteDocument(Case):
    async def act(self, world: World) -> None:
        for document in await world.backend.list_documents(world.ada, world.shelf):
            await world.backend.delete_document(world.ada, world.shelf, document.id)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        if acknowledged:
            assert await world.documents() == []


class KeepHouse(Case):
    async def act(self, world: World) -> None:
        await world.backend.keep_house()

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        assert await world.documents() == ["old.txt"]


CASES: list[Callable[[], Case]] = [
    Register,
    LogOut,
    ChangePassword,
    CreateConversation,
    DeleteConversation,
    DeleteWhileAnswering,
    Send,
    AskKnowledgeBase,
    Stop,
    CreateKnowledgeBase,
    DeleteKnowledgeBase,
    Submit,
    CancelUpload,
    DeleteDocument,
    KeepHouse,
]


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "afterwards"])
@pytest.mark.parametrize("case", CASES)
async def test_what_is_cut_off_at_any_call_is_whole_or_absent_and_can_be_done_again(
    case: Callable[[], Case], afterwards: bool, tmp_path: Path
) -> None:
    await cut_off_at_every_call(case, tmp_path, afterwards=afterwards)


async def test_what_a_dead_process_was_writing_is_closed_whatever_fails_at_the_next_start(tmp_path: Path) -> None:
    for at in count(1):
        faults = Sleeping(error=DatabaseUnavailable, at=at)
        async with a_world(tmp_path, faults) as world:
            dead = world.store.journal_of(WriterId("dead"))
            await dead.begin(a_turn(5, owner=world.ada, conversation=world.talk))
            await dead.checkpoint([Part(AnswerId(5), 1, [Delta("one "), Delta("two")])])

        faults.awake = True
        async with reopened(tmp_path, faults.wrap(world.store)):
            faults.awake = False
        async with reopened(tmp_path, world.store) as backend:
            messages = (await backend.read_history(world.ada, world.talk)).messages
        assert [(message.text, message.reason) for message in messages] == [("Hello", None), ("one two", "interrupted")]
        if not faults.struck:
            break
