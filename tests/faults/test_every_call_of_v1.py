"""The use cases behind `/v1` and API keys, cut off at each call of a port that they make."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from llm_backend.application.ports.file_views import Slice
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.recalling_items import placed
from llm_backend.application.responses import Begun, WantedResponse
from llm_backend.application.store_files import ToAttach
from llm_backend.application.vector_stores import StoreChanges
from llm_backend.domain.answers import AnswerState
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import MessageState, TokenUsage
from llm_backend.domain.errors import (
    ApiKeyNotFound,
    ItemNotFound,
    NotFound,
    ResponseNotFound,
    StoredFileNotFound,
    Unauthenticated,
)
from llm_backend.domain.files import Purpose
from llm_backend.domain.ids import ConversationId, FileId, KnowledgeBaseId
from llm_backend.domain.items import Reference, Said, Speaker
from llm_backend.domain.responses import ResponseRequest
from llm_backend.domain.usage import UsageGroup, UsageKind
from llm_backend.domain.vector_stores import FileStatus, StoreFile
from llm_backend.testing.scripted_chat_model import FOREVER
from tests.faults.worlds import Case, World, cut_off_at_every_call

KEY = IdempotencyKey(key="k", fingerprint="f")
FOUND = {"colour": "red"}


def said(text: str) -> Said:
    return Said.plain(Speaker.USER, text)


# API keys ------------------------------------------------------------------------------------------------------------


class CreateApiKey(Case):
    secret = ""

    async def act(self, world: World) -> None:
        made = await world.backend.create_api_key(world.session, "New", idempotency=KEY)
        self.secret = made.secret.reveal() if made.secret else self.secret

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = await world.backend.list_api_keys(world.ada)
        assert len(made) == 1 if acknowledged else len(made) <= 1
        if self.secret:
            assert (await world.backend.authorize(self.secret)).key == made[0].id


class DeleteApiKey(Case):
    async def prepare(self, world: World) -> None:
        self.made = await world.backend.create_api_key(world.session, "Old")

    async def act(self, world: World) -> None:
        with suppress(ApiKeyNotFound):
            await world.backend.delete_api_key(world.ada, self.made.key.id)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        listed = bool(await world.backend.list_api_keys(world.ada))
        assert await self._is_good(world) is listed
        assert not (acknowledged and listed)

    async def _is_good(self, world: World) -> bool:
        assert self.made.secret
        try:
            return (await world.backend.authorize(self.made.secret.reveal())).user == world.ada
        except Unauthenticated:
            return False


# Usage ---------------------------------------------------------------------------------------------------------------


class UseTokens(Case):
    used = 0

    async def act(self, world: World) -> None:
        self.used += 1
        world.backend.record_usage(Access(user=world.ada), UsageKind.CHAT, "m", TokenUsage(prompt=1, completion=0))
        await world.backend.report_usage(world.ada, UsageGroup.MODEL)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        (counted,) = await world.backend.report_usage(world.ada, UsageGroup.MODEL)
        assert (counted.requests, counted.prompt) == (self.used, self.used)


# Responses -----------------------------------------------------------------------------------------------------------


class Respond(Case):
    async def act(self, world: World) -> None:
        await self.respond(world, idempotency=KEY)

    async def respond(
        self, world: World, *, into: ConversationId | None = None, idempotency: IdempotencyKey | None = None
    ) -> Begun:
        request = ResponseRequest(model="some-model")
        wanted = WantedResponse(request=request, items=[said("What?")], conversation=into)
        return await world.backend.respond(world.ada, wanted, idempotency=idempotency)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = await world.store.journal.answer_for(world.ada, KEY)
        assert made or not acknowledged
        if made:
            response = await world.backend.find_response(world.ada, made)
            assert response.reply
            assert (response.reply.text, response.reply.state) == ("Hello, world", MessageState.COMPLETE)


class RespondInConversation(Respond):
    async def act(self, world: World) -> None:
        await self.respond(world, into=world.talk, idempotency=KEY)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        await super().holds(world, acknowledged=acknowledged)
        messages = (await world.backend.read_history(world.ada, world.talk)).messages
        assert len(messages) == 2 if acknowledged else len(messages) in {0, 2}


class RespondOverDocuments(Respond):
    async def act(self, world: World) -> None:
        wanted = WantedResponse(request=ResponseRequest(model=f"kb:{world.shelf}"), items=[said("quick brown fox")])
        await world.backend.respond(world.ada, wanted, idempotency=KEY)


class DeleteResponse(Respond):
    async def prepare(self, world: World) -> None:
        self.response = (await self.respond(world)).response.answer.id
        await world.settled()

    async def act(self, world: World) -> None:
        with suppress(ResponseNotFound):
            await world.backend.delete_response(world.ada, self.response)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        if acknowledged:
            with pytest.raises(ResponseNotFound):
                await world.backend.find_response(world.ada, self.response)


class DeleteResponseInConversation(DeleteResponse):
    async def prepare(self, world: World) -> None:
        self.response = (await self.respond(world, into=world.talk)).response.answer.id
        await world.settled()

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        await super().holds(world, acknowledged=acknowledged)
        assert len((await world.backend.read_history(world.ada, world.talk)).messages) == 2


class DeleteResponseWhileWriting(DeleteResponse):
    async def prepare(self, world: World) -> None:
        world.model.play_next("one ", FOREVER)
        self.response = (await self.respond(world)).response.answer.id
        await world.model.asked()

    async def calm(self, world: World) -> None:
        with suppress(NotFound):
            await world.backend.cancel_response(world.ada, self.response)


class CancelResponse(DeleteResponseWhileWriting):
    async def act(self, world: World) -> None:
        await world.backend.cancel_response(world.ada, self.response)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        response = await world.backend.find_response(world.ada, self.response)
        assert response.answer.state is not AnswerState.RUNNING
        assert response.reply
        assert (response.reply.text, response.reply.reason) == ("one ", "stopped")


# Conversations and their items ---------------------------------------------------------------------------------------


class OpenConversation(Case):
    async def act(self, world: World) -> None:
        items = [said("One"), Said.plain(Speaker.ASSISTANT, "Two")]
        await world.backend.open_conversation(world.ada, {"title": "New"}, items, idempotency=KEY)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = (await world.conversations()) - {world.talk}
        assert len(made) == 1 if acknowledged else len(made) <= 1
        for conversation in made:
            assert len((await world.backend.read_items(world.ada, conversation)).messages) == 2


class DescribeConversation(Case):
    async def act(self, world: World) -> None:
        await world.backend.describe_conversation(world.ada, world.talk, FOUND)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        metadata = (await world.backend.read_items(world.ada, world.talk)).conversation.metadata
        assert metadata == FOUND if acknowledged else metadata in ({}, FOUND)


class AddItems(Case):
    """Has no key by which it could tell a repetition, and so adds twice."""

    async def act(self, world: World) -> None:
        await world.backend.add_items(world.ada, world.talk, [said("One"), said("Two")])

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        texts = [message.text for message in (await world.backend.read_items(world.ada, world.talk)).messages]
        assert texts in ([], ["One", "Two"], ["One", "Two"] * 2)
        assert texts or not acknowledged


class RemoveItem(Case):
    async def prepare(self, world: World) -> None:
        await world.backend.add_items(world.ada, world.talk, [said("One"), said("Two")])

    async def act(self, world: World) -> None:
        with suppress(ItemNotFound):
            await world.backend.remove_item(world.ada, Reference(kind=Said, conversation=world.talk, number=1, index=0))

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        messages = (await world.backend.read_items(world.ada, world.talk)).messages
        left = len(list(placed(messages)))
        assert left == 1 if acknowledged else left in {1, 2}
        assert bool(messages[0].text) is (left == 2)


# Files and vector stores ---------------------------------------------------------------------------------------------


class UploadFile(Case):
    async def act(self, world: World) -> None:
        await self.upload(world, idempotency=KEY)

    async def upload(self, world: World, *, idempotency: IdempotencyKey | None = None) -> FileId:
        upload = world.backend.upload_file
        return (await upload(world.ada, world.file, "new.txt", Purpose.ASSISTANTS, idempotency=idempotency)).id

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = [file for file in await world.backend.list_files(world.ada, limit=10) if file.name == "new.txt"]
        assert len(made) == 1 if acknowledged else len(made) <= 1
        for file in made:
            _, content = await world.backend.read_file(world.ada, file.id)
            assert b"".join([piece async for piece in content]) == world.file.read_bytes()


class DeleteFile(UploadFile):
    async def prepare(self, world: World) -> None:
        self.file = await self.upload(world)
        await world.backend.attach_files(world.ada, world.shelf, ToAttach(file=self.file))
        await world.settled()

    async def act(self, world: World) -> None:
        with suppress(StoredFileNotFound):
            await world.backend.delete_file(world.ada, self.file)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        listed = [file for file in await world.backend.list_files(world.ada, limit=10) if file.id == self.file]
        assert bool(listed) is ("new.txt" in await world.documents())
        assert not (acknowledged and listed)


class CreateVectorStore(Case):
    async def act(self, world: World) -> None:
        about = StoreChanges(name="New", metadata=FOUND)
        await world.backend.create_vector_store(world.ada, about, idempotency=KEY)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = [
            store
            for store in await world.backend.list_vector_stores(world.ada, Slice(limit=100))
            if store.base.id != world.shelf
        ]
        assert [store.settings.metadata for store in made] == [FOUND] or not (made or acknowledged)


class UpdateVectorStore(Case):
    async def act(self, world: World) -> None:
        changes = StoreChanges(name="Renamed", metadata=FOUND)
        await world.backend.update_vector_store(world.ada, world.shelf, changes)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        store = await world.backend.find_vector_store(world.ada, world.shelf)
        is_changed = store.base.name == "Renamed"
        assert is_changed is (store.settings.metadata == FOUND)
        assert is_changed or not acknowledged


class AttachFile(UploadFile):
    async def prepare(self, world: World) -> None:
        self.file = await self.upload(world)

    async def act(self, world: World) -> None:
        await world.backend.attach_files(world.ada, world.shelf, ToAttach(file=self.file, attributes=FOUND))

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = await self.attached(world, world.shelf)
        whole = [(one.file, one.status, one.document.attributes) for one in made]
        assert whole == [(self.file, FileStatus.COMPLETED, FOUND)] or not (whole or acknowledged)
        assert (await world.documents()).count("new.txt") == len(made)

    async def attached(self, world: World, shelf: KnowledgeBaseId) -> list[StoreFile]:
        files = await world.backend.list_store_files(world.ada, shelf, Slice(limit=100))
        return [one for one in files if one.document.name == "new.txt"]


class AttachBatch(AttachFile):
    async def prepare(self, world: World) -> None:
        self.files = [await self.upload(world) for _ in range(2)]

    async def act(self, world: World) -> None:
        wanted = [ToAttach(file=file) for file in self.files]
        self.batch = await world.backend.attach_files.batch(world.ada, world.shelf, wanted, idempotency=KEY)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = await self.attached(world, world.shelf)
        assert {one.status for one in made} <= {FileStatus.COMPLETED}
        assert len(made) == 2 if acknowledged else len(made) in {0, 2}
        if acknowledged:
            progress = await world.backend.find_file_batch(world.ada, world.shelf, self.batch)
            assert (progress.counts.completed, progress.counts.total) == (2, 2)


class CancelBatch(AttachBatch):
    async def prepare(self, world: World) -> None:
        await super().prepare(world)
        await super().act(world)

    async def act(self, world: World) -> None:
        await world.backend.cancel_file_batch(world.ada, world.shelf, self.batch)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        """Which files were in time is a matter of luck; none is left half way."""
        progress = await world.backend.find_file_batch(world.ada, world.shelf, self.batch)
        assert progress.counts.in_progress == 0
        assert (await world.documents()).count("new.txt") == progress.counts.completed


class DescribeStoreFile(AttachFile):
    async def prepare(self, world: World) -> None:
        await super().prepare(world)
        await world.backend.attach_files(world.ada, world.shelf, ToAttach(file=self.file))
        await world.settled()

    async def act(self, world: World) -> None:
        await world.backend.describe_store_file(world.ada, world.shelf, self.file, FOUND)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        attributes = (await world.backend.find_store_file(world.ada, world.shelf, self.file)).document.attributes
        assert attributes == FOUND if acknowledged else attributes in ({}, FOUND)


class DetachFile(DescribeStoreFile):
    async def act(self, world: World) -> None:
        with suppress(StoredFileNotFound):
            await world.backend.detach_file(world.ada, world.shelf, self.file)

    async def holds(self, world: World, *, acknowledged: bool) -> None:
        made = await self.attached(world, world.shelf)
        assert not (acknowledged and made)
        assert (await world.backend.find_file(world.ada, self.file)).id == self.file


CASES: list[Callable[[], Case]] = [
    CreateApiKey,
    DeleteApiKey,
    Respond,
    RespondInConversation,
    RespondOverDocuments,
    DeleteResponse,
    DeleteResponseInConversation,
    DeleteResponseWhileWriting,
    CancelResponse,
    UseTokens,
    OpenConversation,
    DescribeConversation,
    AddItems,
    RemoveItem,
    UploadFile,
    DeleteFile,
    CreateVectorStore,
    UpdateVectorStore,
    AttachFile,
    AttachBatch,
    CancelBatch,
    DescribeStoreFile,
    DetachFile,
]


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "afterwards"])
@pytest.mark.parametrize("case", CASES)
async def test_what_is_cut_off_at_any_call_is_whole_or_absent_and_can_be_done_again(
    case: Callable[[], Case], afterwards: bool, tmp_path: Path
) -> None:
    await cut_off_at_every_call(case, tmp_path, afterwards=afterwards)
