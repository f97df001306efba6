import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from llm_backend.application.ports.blobs import BlobKey
from llm_backend.application.ports.embedder import Embedded
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.ports.jobs import JobId
from llm_backend.application.uploads import FollowDocument, UploadDocument
from llm_backend.domain.errors import (
    BlobsUnavailable,
    DatabaseUnavailable,
    DocumentNotFound,
    DocumentUnreadable,
    DomainError,
    EmbeddingFailed,
    IdempotencyMismatch,
    IndexUnavailable,
    InvalidAttributes,
    InvalidDocumentName,
    InvalidKnowledgeBaseName,
    KnowledgeBaseNotFound,
    UnknownEmbeddingModel,
)
from llm_backend.domain.filters import Attributes
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.testing.faults import Faults, faults_at_every_call
from tests.unit.shelves import ALICE, BOB, LEASE, Shelf

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


def deaths_at_every_call(*, afterwards: bool) -> Iterator[Faults]:
    """As `faults_at_every_call`, but nothing works from there on."""
    for at in count(1):
        faults = DeadFrom(error=PowerCut, at=at, afterwards=afterwards)
        yield faults
        if not faults.struck:
            return


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


async def test_the_same_file_twice_is_one_document(shelf: Shelf) -> None:
    first, _ = await shelf.upload(TEXT)

    again, _ = await shelf.upload(TEXT, attributes={"year": 2024})

    assert again.id == first.id
    assert again.attributes == {"year": 2024}
    assert await shelf.listed() == ["notes.txt"]
    assert not await shelf.pending()
    assert list(await shelf.blobs.keys()) == [BlobKey(first.id)]


async def test_the_same_content_by_another_name_is_another_document_found_once(shelf: Shelf) -> None:
    await shelf.upload(TEXT)
    await shelf.upload(TEXT, "copy.txt")

    assert await shelf.listed() == ["notes.txt", "copy.txt"]
    assert len(await shelf.found("quick fox")) == 1


async def test_the_same_file_is_another_document_after_a_deletion(shelf: Shelf) -> None:
    first, _ = await shelf.upload(TEXT)
    await shelf.delete_document(ALICE, shelf.id, first.id)

    again, _ = await shelf.upload(TEXT)

    assert again.id != first.id
    assert await shelf.listed() == ["notes.txt"]


async def test_a_new_version_takes_the_place_of_the_old_one_when_it_is_ready(shelf: Shelf) -> None:
    await shelf.upload("The old fox.")
    other, _ = await shelf.upload("Another fox.", "other.txt")

    new = await shelf.submit("The new fox.", replace=True)
    before = await shelf.found("fox")
    await shelf.work()

    assert before == ["The old fox.", "Another fox."]
    assert sorted(await shelf.found("fox")) == ["Another fox.", "The new fox."]
    assert [one.id for one in await shelf.store.knowledge_views.documents(ALICE, shelf.id)] == [other.id, new]
    assert await shelf.indexed("old") == 0
    assert sorted(await shelf.blobs.keys()) == sorted([BlobKey(other.id), BlobKey(new)])


async def test_a_new_version_that_cannot_be_read_replaces_nothing(shelf: Shelf) -> None:
    await shelf.upload("The old fox.")

    with pytest.raises(DocumentUnreadable):
        await shelf.upload("broken", replace=True)

    assert await shelf.found("fox") == ["The old fox."]


async def test_of_two_new_versions_the_later_one_stays_whichever_is_ready_first(shelf: Shelf) -> None:
    await shelf.upload("The old fox.")
    await shelf.submit("The second fox.", replace=True)
    await shelf.submit("The third fox.", replace=True)

    await shelf.work()

    assert await shelf.found("fox") == ["The third fox."]
    assert await shelf.listed() == ["notes.txt"]


async def test_a_new_version_with_the_old_content_is_the_old_document(shelf: Shelf) -> None:
    old, _ = await shelf.upload(TEXT)

    same, _ = await shelf.upload(TEXT, replace=True)
    renamed, _ = await shelf.upload(TEXT, "renamed.txt", replace=True)

    assert same.id == old.id
    assert renamed.id != old.id
    assert await shelf.listed() == ["notes.txt", "renamed.txt"]


async def test_a_version_with_the_content_of_before_the_last_one_is_new(shelf: Shelf) -> None:
    await shelf.upload("One fox.")
    await shelf.upload("Two foxes.", replace=True)

    await shelf.upload("One fox.", replace=True)

    assert await shelf.found("fox") == ["One fox."]


@pytest.mark.parametrize("attributes", [{"doc_id": "x"}, {"k": "\x00"}])
async def test_attributes_that_cannot_be_are_refused(shelf: Shelf, attributes: Attributes) -> None:
    document, _ = await shelf.upload(TEXT)

    with pytest.raises(InvalidAttributes):
        await shelf.submit("Another text.", attributes=attributes)
    with pytest.raises(InvalidAttributes):
        await shelf.describe(ALICE, document.id, attributes)
    with pytest.raises(DocumentNotFound):
        await shelf.describe(BOB, document.id, attributes)

    assert await shelf.listed() == ["notes.txt"]


async def test_new_versions_are_whole_whatever_fails(tmp_path: Path) -> None:
    for faults in faults_at_every_call(DatabaseUnavailable):
        folder = tmp_path / str(faults.at)
        folder.mkdir()
        shelf = await Shelf(folder).open()
        await shelf.upload("The old fox.")
        shelf.faults = faults
        with suppress(DomainError):
            await shelf.upload("The new fox.", replace=True)
        shelf.faults = None

        seen = await shelf.found("fox")
        await shelf.recover()

        assert seen in (["The old fox."], ["The new fox."])
        assert await shelf.found("fox") in (["The old fox."], ["The new fox."])
        assert len(await shelf.listed()) == 1
        assert await shelf.tombstones() == 0


@pytest.mark.parametrize("owner", [BOB, ALICE])
async def test_a_shelf_that_is_not_theirs_is_refused_before_the_file_is_read(shelf: Shelf, owner: int) -> None:
    theirs = shelf.id if owner == BOB else KnowledgeBaseId("x' OR '1'='1")

    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.upload("broken", "", owner=owner, shelf=theirs)  # type: ignore[arg-type]


async def test_what_cannot_be_read_leaves_nothing_behind_but_the_reason(shelf: Shelf) -> None:
    document = await shelf.submit("broken")
    await shelf.work()
    with pytest.raises(InvalidDocumentName):
        await shelf.submit(TEXT, "/")

    assert not await shelf.listed()
    assert not await shelf.tombstones()
    assert not await shelf.blobs.keys()
    assert (await shelf.status(document)).document.reason == "document_unreadable"


async def test_a_document_goes_through_all_steps(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    queued = await shelf.status(document)
    await shelf.work()
    ready = await shelf.status(document)

    assert (queued.document.state, queued.step, queued.percent) == ("pending", "queued", 0)
    assert shelf.steps == ["parsing", "embedding", "indexing", "done"]
    assert (ready.document.state, ready.step, ready.percent, ready.chunks) == ("ready", "done", 100, 1)


async def test_the_file_of_a_document_is_kept_for_as_long_as_the_document(shelf: Shelf) -> None:
    document, _ = await shelf.upload(TEXT)
    for _ in range(2):
        await shelf.sweep()
        shelf.clock.advance(shelf.sweep.orphaned_after)
    assert await shelf.blobs.keys() == [BlobKey(document.id)]

    await shelf.delete_document(ALICE, shelf.id, document.id)

    assert not await shelf.blobs.keys()


async def test_the_file_of_a_deleted_document_goes_though_the_index_is_away(shelf: Shelf) -> None:
    document, _ = await shelf.upload(TEXT)
    shelf.faults = Faults(error=IndexUnavailable, only={"remove"})

    await shelf.delete_document(ALICE, shelf.id, document.id)

    assert shelf.faults.struck
    assert not await shelf.blobs.keys()


async def test_without_vectors_an_upload_fails_as_a_whole(shelf: Shelf) -> None:
    shelf.embedder.on = False

    with pytest.raises(EmbeddingFailed):
        await shelf.upload(TEXT)

    assert not await shelf.listed()
    assert not await shelf.indexed("fox")


async def test_while_the_embedding_server_is_away_everything_is_found_by_its_words_and_what_comes_is_not_listed(
    shelf: Shelf,
) -> None:
    await shelf.upload("The old fox.", "old.txt")
    shelf.embedder.on = False
    new = await shelf.submit("The new fox.", "new.txt")
    with pytest.raises(EmbeddingFailed):
        await shelf.ingest(JobId(new), lambda _: None)

    meanwhile, listed = await shelf.retrieve()(ALICE, shelf.id, "fox"), await shelf.listed()
    shelf.embedder.on = True
    await shelf.work()

    assert meanwhile.degraded
    assert sorted(passage.chunk.text for passage in meanwhile.passages) == ["The new fox.", "The old fox."]
    assert listed == ["old.txt"]
    assert await shelf.listed() == ["old.txt", "new.txt"]
    assert sorted(await shelf.found("fox")) == ["The new fox.", "The old fox."]


async def test_a_new_version_without_vectors_replaces_nothing(shelf: Shelf) -> None:
    await shelf.upload("The old fox.")
    shelf.embedder.on = False

    with pytest.raises(EmbeddingFailed):
        await shelf.upload("The new fox.", replace=True)

    assert await shelf.found("fox") == ["The old fox."]


async def test_a_file_that_nobody_has_is_a_failure(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    await shelf.blobs.delete([BlobKey(document)])

    await shelf.work()

    assert (await shelf.status(document)).document.reason == "original_missing"


async def test_failures_are_forgotten_after_a_week(shelf: Shelf) -> None:
    document = await shelf.submit("broken")
    await shelf.work()

    assert await shelf.sweep() == 0
    shelf.clock.advance(2 * shelf.sweep.failures_kept_for)
    assert await shelf.sweep() == 1

    with pytest.raises(DocumentNotFound):
        await shelf.status(document)


@pytest.mark.parametrize("error", [DatabaseUnavailable, IndexUnavailable, BlobsUnavailable, PowerCut])
@pytest.mark.parametrize("afterwards", [False, True])
async def test_an_upload_cut_off_anywhere_is_whole_or_not_listed(
    tmp_path: Path, error: Callable[[], BaseException], afterwards: bool
) -> None:
    for faults in faults_at_every_call(error, afterwards=afterwards):
        await check_an_upload_with(faults, tmp_path)


@pytest.mark.parametrize("afterwards", [False, True])
async def test_a_process_killed_anywhere_leaves_nothing_half_listed(tmp_path: Path, afterwards: bool) -> None:
    for faults in deaths_at_every_call(afterwards=afterwards):
        await check_an_upload_with(faults, tmp_path)


async def check_an_upload_with(faults: Faults, folder: Path) -> None:
    """What was acknowledged comes to its end, and nothing is ever there by halves."""
    shelf = await Shelf(folder).open()
    shelf.faults = faults
    acknowledged = None
    with suppress(DomainError, PowerCut):
        acknowledged = await shelf.submit(TEXT)
        await shelf.work()
    shelf.faults = None

    assert len(await shelf.listed()) == len(await shelf.found("quick fox"))

    await shelf.recover()
    listed = await shelf.listed()
    assert await shelf.indexed("fox") == len(await shelf.found("quick fox")) == len(listed)
    assert not await shelf.tombstones()
    assert len(await shelf.blobs.keys()) == len(listed)
    if acknowledged:
        status = await shelf.status(acknowledged)
        assert status.is_settled
        assert (status.document.state == "ready") == (listed == ["notes.txt"])
        assert status.document.reason in {None, "database_unavailable", "index_unavailable", "blobs_unavailable"}


async def test_a_job_that_got_lost_is_asked_for_again(shelf: Shelf) -> None:
    shelf.faults = Faults(error=DatabaseUnavailable, only={"enqueue"})
    document = await shelf.submit(TEXT)
    shelf.faults = None
    await shelf.work()
    assert (await shelf.status(document)).document.state == "pending"

    await shelf.sweep()
    await shelf.work()

    assert await shelf.listed() == ["notes.txt"]


async def test_a_repeated_request_asks_for_the_job_that_the_first_one_did_not_come_to_ask_for(shelf: Shelf) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")
    shelf.faults = Faults(error=DatabaseUnavailable, only={"commit"}, afterwards=True)
    with pytest.raises(DatabaseUnavailable):
        await shelf.submit(TEXT, idempotency=key)
    shelf.faults = None

    await shelf.upload(TEXT, idempotency=key)

    assert await shelf.listed() == ["notes.txt"]


async def test_a_file_whose_document_was_never_stored_is_given_up_in_the_end(shelf: Shelf) -> None:
    shelf.faults = Faults(error=DatabaseUnavailable, only={"commit"})
    with pytest.raises(DatabaseUnavailable):
        await shelf.submit(TEXT)
    shelf.faults = None

    await shelf.sweep()
    assert len(await shelf.blobs.keys()) == 1  # its document might come yet
    shelf.clock.advance(shelf.sweep.orphaned_after)
    await shelf.sweep()

    assert not await shelf.blobs.keys()


async def test_whoever_was_outrun_leaves_nothing_of_its_own_and_all_of_the_others(shelf: Shelf) -> None:
    """It was silent for so long that somebody else took its job, and came back to life at the end of its work."""
    document = await shelf.submit(TEXT)

    async def outrun() -> None:
        shelf.embedder.inside = HashEmbedder()
        await shelf.look_on()
        await shelf.work()

    await during_embedding(shelf, outrun)

    assert await shelf.listed() == ["notes.txt"]
    assert await shelf.indexed("fox") == len(await shelf.found("quick fox")) == 1
    assert (await shelf.status(document)).document.attempt == 2


async def test_a_second_try_that_was_outrun_takes_nothing_from_the_third(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)

    async def outrun() -> None:
        shelf.embedder.inside = HashEmbedder()
        await shelf.look_on()
        await shelf.work()

    async def outrun_by_one_that_is_outrun() -> None:
        shelf.embedder.inside = HashEmbedder()
        await shelf.look_on()
        await during_embedding(shelf, outrun)

    await during_embedding(shelf, outrun_by_one_that_is_outrun)

    assert (await shelf.status(document)).document.attempt == 3
    assert await shelf.indexed("fox") == len(await shelf.found("quick fox")) == 1


async def test_a_document_deleted_while_it_is_read_in_leaves_nothing_behind(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)

    async def delete() -> None:
        await shelf.delete_document(ALICE, shelf.id, document)
        await shelf.sweep()  # which leaves it to the job, that is not done yet

    await during_embedding(shelf, delete)

    assert not await shelf.indexed("fox")
    assert not await shelf.blobs.keys()
    await shelf.sweep()
    assert not await shelf.tombstones()


async def test_the_sweeper_leaves_what_was_deleted_to_its_job_as_long_as_there_is_one(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    lease = await shelf.jobs.take(LEASE)
    assert lease
    await shelf.delete_document(ALICE, shelf.id, document)

    assert await shelf.sweep() == 0
    await shelf.do(lease)
    await shelf.jobs.done(lease)
    assert await shelf.sweep() == 1

    assert not await shelf.blobs.keys()


async def test_the_key_of_a_document_that_was_deleted_finds_nothing(shelf: Shelf) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")
    document, _ = await shelf.upload(TEXT, idempotency=key)
    await shelf.delete_document(ALICE, shelf.id, document.id)

    with pytest.raises(DocumentNotFound):
        await shelf.submit(TEXT, idempotency=key)


async def test_a_job_of_a_dead_process_is_cleared_up_after_its_document_was_deleted(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    shelf.faults = DeadFrom(error=PowerCut, at=1, only={"store_vectors", "remove", "delete"})
    with suppress(PowerCut):
        await shelf.work()
    shelf.faults = None
    assert await shelf.indexed("fox") == 1
    await shelf.delete_document(ALICE, shelf.id, document)

    await shelf.recover()

    assert not await shelf.indexed("fox")
    assert not await shelf.tombstones()


async def test_a_document_that_is_cancelled_has_failed_and_leaves_nothing_behind(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)

    async def cancel() -> None:
        assert (await shelf.cancel(ALICE, document)).document.reason == "ingestion_cancelled"

    await during_embedding(shelf, cancel)

    assert (await shelf.status(document)).document.state == "failed"
    assert not await shelf.listed()
    assert not await shelf.indexed("fox")
    assert not await shelf.blobs.keys()


async def test_what_somebody_waits_for_goes_before_what_was_left_to_be_read_in(shelf: Shelf) -> None:
    left = await shelf.submit(TEXT, "left.txt")
    file = shelf.folder / "waited-for"
    await asyncio.to_thread(file.write_text, "Another text.")
    upload = UploadDocument(shelf.handing_in, FollowDocument(shelf.check, shelf.runner), shelf.store.knowledge_views)

    waiting = asyncio.create_task(upload(ALICE, shelf.id, file, "waited-for.txt"))
    while len(await shelf.pending()) < 2:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(0)
    await shelf.work(most=1)
    document, _ = await waiting

    assert document.name == "waited-for.txt"
    assert (await shelf.status(left)).document.state == "pending"


async def test_what_is_ready_cannot_be_cancelled_any_more(shelf: Shelf) -> None:
    document, _ = await shelf.upload(TEXT)

    assert (await shelf.cancel(ALICE, document.id)).document.state == "ready"

    assert await shelf.listed() == ["notes.txt"]


async def test_nobody_sees_or_cancels_what_belongs_to_another(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)

    with pytest.raises(DocumentNotFound):
        await shelf.status(document, BOB)
    with pytest.raises(DocumentNotFound):
        await shelf.cancel(BOB, document)

    await shelf.work()
    assert await shelf.listed() == ["notes.txt"]


async def during_embedding(shelf: Shelf, interlude: Callable[[], Awaitable[None]]) -> None:
    """Do the jobs; something happens in the middle of the first."""
    embed = shelf.embedder.inside.embed_document
    happened = False

    class Slow(HashEmbedder):
        async def embed_document(self, texts: Sequence[str]) -> Embedded:
            nonlocal happened
            if not happened:
                happened = True
                await interlude()
            return await embed(texts)

    shelf.embedder.inside = Slow()
    await shelf.work()
    assert happened


async def test_a_failed_upload_can_be_tried_again_under_the_same_key(shelf: Shelf) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")
    shelf.embedder.on = False
    with pytest.raises(EmbeddingFailed):
        await shelf.upload(TEXT, idempotency=key)
    shelf.embedder.on = True

    document, _ = await shelf.upload(TEXT, idempotency=key)
    again, _ = await shelf.upload(TEXT, idempotency=key)

    assert document.id == again.id
    assert await shelf.listed() == ["notes.txt"]


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
    document = await shelf.submit(TEXT)

    async def delete() -> None:
        await shelf.delete(ALICE, shelf.id)
        await shelf.sweep()

    await during_embedding(shelf, delete)

    with pytest.raises(DocumentNotFound):
        await shelf.status(document)
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
    await shelf.submit(TEXT)

    async def sweep() -> None:
        assert await shelf.sweep() == 0

    await during_embedding(shelf, sweep)

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
