import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.errors import (
    DatabaseUnavailable,
    DocumentNotFound,
    DocumentUnreadable,
    EmbeddingFailed,
    IdempotencyMismatch,
    IndexUnavailable,
    InvalidDocumentName,
    InvalidKnowledgeBaseName,
    KnowledgeBaseNotFound,
    UnknownEmbeddingModel,
)
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.testing.faults import Faults, faults_at_every_call
from tests.unit.shelves import ALICE, BOB, Shelf

TEXT = "The quick brown fox jumps over the lazy dog.\n\nNothing else happened that day."


class PowerCut(BaseException):
    """What ends a process in the middle: nothing is caught, nothing is cleaned up."""


@dataclass(slots=True, kw_only=True)
class DeadFrom(Faults):
    """As after kill -9: from call `at` on, nothing works any more, cleaning up included."""

    def before(self, method: str) -> bool:
        strikes = Faults.before(self, method)
        if len(self.calls) > self.at:
            raise self.error()
        return strikes


@pytest.fixture
async def shelf(tmp_path: Path) -> Shelf:
    return await Shelf(tmp_path).open()


async def test_an_uploaded_document_is_listed_and_found(shelf: Shelf) -> None:
    document, chunks = await shelf.upload(TEXT, "notes.txt")

    assert chunks == len(await shelf.store.knowledge_views.chunks(shelf.embedder.space))
    assert await shelf.listed() == ["notes.txt"]
    assert TEXT in (await shelf.found("quick fox"))[0]
    assert (document.size, document.file_type) == (len(TEXT), "txt")
    assert len(document.sha256) == 64


async def test_only_the_last_part_of_a_file_name_counts(shelf: Shelf) -> None:
    document, _ = await shelf.upload(TEXT, "..\\..\\etc/../x.txt")

    assert document.name == "x.txt"


async def test_the_same_file_twice_is_two_documents_found_once(shelf: Shelf) -> None:
    await shelf.upload(TEXT)
    await shelf.upload(TEXT)

    assert len(await shelf.listed()) == 2
    assert len(await shelf.found("quick fox")) == 1


@pytest.mark.parametrize("owner", [BOB, ALICE])
async def test_a_shelf_that_is_not_theirs_is_refused_before_the_file_is_read(shelf: Shelf, owner: int) -> None:
    theirs = shelf.id if owner == BOB else KnowledgeBaseId("x' OR '1'='1")

    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.upload("broken", "", owner=owner, shelf=theirs)  # type: ignore[arg-type]


async def test_what_cannot_be_read_leaves_nothing_behind(shelf: Shelf) -> None:
    with pytest.raises(DocumentUnreadable):
        await shelf.upload("broken")
    with pytest.raises(InvalidDocumentName):
        await shelf.upload(TEXT, "/")

    assert not await shelf.listed()
    assert not await shelf.tombstones()


async def test_without_vectors_an_upload_fails_as_a_whole(shelf: Shelf) -> None:
    shelf.embedder.on = False

    with pytest.raises(EmbeddingFailed):
        await shelf.upload(TEXT)

    assert not await shelf.listed()
    assert not await shelf.indexed("fox")
    assert await shelf.sweep() == 1


@pytest.mark.parametrize("error", [DatabaseUnavailable, IndexUnavailable, PowerCut])
@pytest.mark.parametrize("afterwards", [False, True])
async def test_an_upload_cut_off_anywhere_is_whole_or_not_listed(
    tmp_path: Path, error: Callable[[], BaseException], afterwards: bool
) -> None:
    for faults in faults_at_every_call(error, afterwards=afterwards):
        shelf = await Shelf(tmp_path).open()
        shelf.faults = faults
        failed = False
        try:
            await shelf.upload(TEXT)
        except (DatabaseUnavailable, IndexUnavailable, PowerCut):
            failed = True
        shelf.faults = None

        listed, found = await shelf.listed(), await shelf.found("quick fox")
        assert len(listed) == len(found)
        assert failed or listed == ["notes.txt"]

        shelf.clock.advance(shelf.sweep.patience * 2)
        await shelf.sweep()
        assert await shelf.indexed("fox") == len(await shelf.listed()) == len(listed)
        assert not await shelf.tombstones()


@pytest.mark.parametrize("afterwards", [False, True])
async def test_a_process_killed_anywhere_leaves_nothing_half_listed(tmp_path: Path, afterwards: bool) -> None:
    for at in count(1):
        shelf = await Shelf(tmp_path).open()
        shelf.faults = faults = DeadFrom(error=PowerCut, at=at, afterwards=afterwards)
        with suppress(PowerCut):
            await shelf.upload(TEXT)
        shelf.faults = None

        listed = await shelf.listed()
        assert len(listed) == len(await shelf.found("quick fox"))

        shelf.clock.advance(shelf.sweep.patience * 2)
        await shelf.sweep()
        assert await shelf.indexed("fox") == len(await shelf.listed()) == len(listed)
        if not faults.struck:
            break


async def test_a_repeated_upload_with_the_same_key_is_the_same_document(shelf: Shelf) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")

    first = await shelf.upload(TEXT, idempotency=key)
    second = await shelf.upload("broken", idempotency=key)

    assert second == first or (second.document.id, second.chunks) == (first.document.id, first.chunks)
    assert await shelf.listed() == ["notes.txt"]


async def test_a_key_stands_for_one_request(shelf: Shelf) -> None:
    await shelf.upload(TEXT, idempotency=IdempotencyKey(key="k", fingerprint="f"))

    with pytest.raises(IdempotencyMismatch):
        await shelf.upload(TEXT, idempotency=IdempotencyKey(key="k", fingerprint="other"))


async def test_the_same_key_at_the_same_time_makes_one_document(shelf: Shelf) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")

    results = await asyncio.gather(*(shelf.upload(TEXT, idempotency=key) for _ in range(5)))

    assert len({result.document.id for result in results}) == 1
    assert await shelf.listed() == ["notes.txt"]
    await shelf.sweep()
    assert await shelf.indexed("fox") == 1


async def test_a_shelf_deleted_during_an_upload_takes_the_document_along(shelf: Shelf) -> None:
    delete, embed = shelf.delete, shelf.embedder.inside.embed_document

    class Slow(type(shelf.embedder.inside)):  # type: ignore[misc]
        async def embed_document(self, texts: list[str]) -> object:
            await delete(ALICE, shelf.id)
            await shelf.sweep()
            return await embed(texts)

    shelf.embedder.inside = Slow()

    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.upload(TEXT)

    await shelf.sweep()
    assert not await shelf.indexed("fox")
    assert not await shelf.tombstones()


async def test_a_deleted_document_is_gone_at_once(shelf: Shelf) -> None:
    document, _ = await shelf.upload(TEXT)
    await shelf.upload("Another fox.", "other.txt")

    await shelf.delete_document(ALICE, shelf.id, document.id)

    assert await shelf.listed() == ["other.txt"]
    assert await shelf.found("fox") == ["Another fox."]
    with pytest.raises(DocumentNotFound):
        await shelf.delete_document(ALICE, shelf.id, document.id)


async def test_nobody_deletes_what_belongs_to_another(shelf: Shelf) -> None:
    document, _ = await shelf.upload(TEXT)

    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.delete_document(BOB, shelf.id, document.id)
    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.delete(BOB, shelf.id)
    with pytest.raises(DocumentNotFound):
        await shelf.delete_document(ALICE, shelf.id, DocumentId("x' OR '1'='1"))

    assert await shelf.listed() == ["notes.txt"]


@pytest.mark.parametrize("error", [DatabaseUnavailable, PowerCut])
@pytest.mark.parametrize("afterwards", [False, True])
async def test_a_deletion_cut_off_anywhere_is_done_or_not(
    tmp_path: Path, error: Callable[[], BaseException], afterwards: bool
) -> None:
    for faults in faults_at_every_call(error, afterwards=afterwards):
        shelf = await Shelf(tmp_path).open()
        document, _ = await shelf.upload(TEXT)
        shelf.faults = faults
        try:
            await shelf.delete_document(ALICE, shelf.id, document.id)
            await shelf.sweep()
        except (DatabaseUnavailable, PowerCut):
            pass
        shelf.faults = None

        assert len(await shelf.listed()) == len(await shelf.found("quick fox"))
        await shelf.sweep()
        assert await shelf.indexed("fox") == len(await shelf.listed())
        assert not await shelf.tombstones()


async def test_deleting_succeeds_while_the_index_is_away_and_the_sweeper_catches_up(shelf: Shelf) -> None:
    document, _ = await shelf.upload(TEXT)
    (shelf.faults,) = [next(iter(faults_at_every_call(IndexUnavailable, only={"remove"})))]

    await shelf.delete_document(ALICE, shelf.id, document.id)

    shelf.faults = None
    assert not await shelf.found("fox")
    assert await shelf.indexed("fox") == 1
    assert await shelf.sweep() == 1
    assert not await shelf.indexed("fox")
    assert await shelf.sweep() == 0


async def test_deleting_a_shelf_takes_its_documents_along(shelf: Shelf) -> None:
    await shelf.upload(TEXT)

    await shelf.delete(ALICE, shelf.id)

    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.listed()
    assert not await shelf.indexed("fox")
    assert await shelf.sweep() == 1


async def test_an_upload_that_goes_on_is_not_swept_away(shelf: Shelf) -> None:
    sweep, embed = shelf.sweep, shelf.embedder.inside.embed_document

    class Slow(type(shelf.embedder.inside)):  # type: ignore[misc]
        async def embed_document(self, texts: list[str]) -> object:
            assert await sweep() == 0
            return await embed(texts)

    shelf.embedder.inside = Slow()

    await shelf.upload(TEXT)

    assert await shelf.listed() == ["notes.txt"]


async def test_a_lost_index_is_rebuilt_from_the_database(shelf: Shelf) -> None:
    await shelf.upload(TEXT)
    gone, _ = await shelf.upload("A deleted fox.", "gone.txt")
    await shelf.delete_document(ALICE, shelf.id, gone.id)
    before = await shelf.retrieve()(ALICE, shelf.id, "quick fox", explain=True)
    await shelf.index.clear()

    held = await shelf.reindex()

    assert held == 1
    assert await shelf.retrieve()(ALICE, shelf.id, "quick fox", explain=True) == before


async def test_a_knowledge_base_takes_the_default_model_unless_told_otherwise(shelf: Shelf) -> None:
    made = await shelf.create(ALICE, "Another")

    assert made.space == shelf.embedder.space
    with pytest.raises(UnknownEmbeddingModel):
        await shelf.create(ALICE, "Another", "unknown")
    with pytest.raises(UnknownEmbeddingModel):
        await shelf.create(ALICE, "Another", "")
    with pytest.raises(InvalidKnowledgeBaseName):
        await shelf.create(ALICE, "")


async def test_the_same_key_makes_one_knowledge_base(shelf: Shelf) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")

    first, *others = await asyncio.gather(*(shelf.create(ALICE, "Another", idempotency=key) for _ in range(5)))

    assert {other.id for other in others} == {first.id}
    assert len(await shelf.store.knowledge_views.knowledge_bases(ALICE)) == 2
