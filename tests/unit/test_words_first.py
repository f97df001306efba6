"""A document that waits for its vectors is found by its words: flagged, not listed, and never by halves afterwards."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from llm_backend.application.ports.embedder import Embedded, Vector
from llm_backend.application.ports.jobs import JobId
from llm_backend.domain.errors import (
    DatabaseUnavailable,
    DocumentUnreadable,
    DomainError,
    EmbeddingFailed,
    EmbeddingKeyRejected,
    EmbeddingModelChanged,
    IndexUnavailable,
    KnowledgeBaseNotFound,
)
from llm_backend.domain.filters import Comparison, Operator
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, Found, StoredChunk
from llm_backend.domain.ranking import Candidate
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.testing.faults import Faults, faults_at_every_call
from tests.unit.shelves import ALICE, BOB, LetterEmbedder, Shelf
from tests.unit.test_ingestion import PowerCut, deaths_at_every_call

TEXT = "The quick brown fox jumps over the lazy dog."
AT_ONCE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Held(HashEmbedder):
    """Embeds documents when it is let go on."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        await self.go_on.wait()
        return await HashEmbedder.embed_document(self, texts)


class Hesitant(HashEmbedder):
    """Lets everything else go first that can go on by itself."""

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        for _ in range(100):
            await asyncio.sleep(0)
        return await super().embed_document(texts)


@pytest.fixture
async def shelf(tmp_path: Path) -> Shelf:
    opened = await Shelf(tmp_path).open()
    opened.patience = AT_ONCE
    return opened


async def search(shelf: Shelf, query: str = "quick fox") -> Found:
    return await shelf.retrieve()(ALICE, shelf.id, query)


async def held(shelf: Shelf, space: EmbeddingSpace | None = None) -> dict[tuple[DocumentId, int], int]:
    return dict(await shelf.index.holdings(space or shelf.embedder.space))


async def begun(
    shelf: Shelf, document: DocumentId, work: Coroutine[None, None, None] | None = None
) -> tuple["asyncio.Task[None]", Held]:
    """A try, alone or by what does all jobs, that has come to where the document is found by its words."""
    shelf.embedder.inside = embedder = Held()
    working = asyncio.create_task(work or shelf.ingest(JobId(document), lambda _: None))
    while not (await shelf.status(document)).document.readable_attempt:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(0)
    shelf.embedder.inside = HashEmbedder()
    return working, embedder


@asynccontextmanager
async def waiting_for_vectors(shelf: Shelf, text: str = TEXT) -> AsyncIterator[tuple[DocumentId, Held]]:
    """A document that is found by its words; at the end of the block its vectors come."""
    document = await shelf.submit(text)
    working, embedder = await begun(shelf, document, shelf.work())
    try:
        yield document, embedder
    finally:
        embedder.go_on.set()
        await working


async def try_in_vain(shelf: Shelf, document: DocumentId, error: type[DomainError] = EmbeddingFailed) -> None:
    with pytest.raises(error):
        await shelf.ingest(JobId(document), lambda _: None)


# Waiting -------------------------------------------------------------------------------------------------------------


async def test_a_document_is_found_by_its_words_until_its_vectors_are_there(shelf: Shelf) -> None:
    async with waiting_for_vectors(shelf) as (document, _):
        meanwhile, listed, status = await search(shelf), await shelf.listed(), await shelf.status(document)
    afterwards = await search(shelf)

    assert [passage.chunk.text for passage in meanwhile.passages] == [TEXT]
    assert (meanwhile.degraded, meanwhile.relevant, meanwhile.passages[0].document_name) == (True, True, "notes.txt")
    assert (listed, status.document.state) == ([], "pending")
    assert shelf.steps == ["parsing", "embedding", "indexing", "done"]
    assert [passage.chunk.text for passage in afterwards.passages] == [TEXT]
    assert not afterwards.degraded
    assert await shelf.listed() == ["notes.txt"]
    assert await held(shelf) == {(document, 2): 1}


async def test_a_search_in_the_moment_in_which_the_vectors_come_finds_it_too(shelf: Shelf) -> None:
    class Overtaken(MemoryPassageIndex):
        working: "asyncio.Task[None] | None" = None

        async def search(
            self,
            space: EmbeddingSpace,
            knowledge_base: KnowledgeBaseId,
            *,
            text: str,
            vector: Vector | None,
            limit: int,
            documents: Collection[DocumentId] | None = None,
        ) -> Sequence[Candidate]:
            found = await super().search(
                space, knowledge_base, text=text, vector=vector, limit=limit, documents=documents
            )
            if self.working:
                embedder.go_on.set()
                await self.working
            return found

    shelf.index = overtaken = Overtaken()
    working, embedder = await begun(shelf, await shelf.submit(TEXT))
    overtaken.working = working

    found = await search(shelf)

    assert [passage.chunk.text for passage in found.passages] == [TEXT]
    assert not found.degraded


async def test_vectors_that_come_soon_are_waited_for(shelf: Shelf) -> None:
    shelf.patience = timedelta(hours=1)
    shelf.embedder.inside = Hesitant()

    document, _ = await shelf.upload(TEXT)

    assert (document.attempt, document.readable_attempt) == (1, None)
    assert await held(shelf) == {(document.id, 1): 1}


async def test_what_has_vectors_comes_before_what_has_none(shelf: Shelf) -> None:
    shelf.patience = timedelta(hours=1)
    await shelf.upload("The quick brown fox of before.", "before.txt")
    shelf.patience = AT_ONCE

    async with waiting_for_vectors(shelf):
        found = await search(shelf)

    assert [passage.document_name for passage in found.passages] == ["before.txt", "notes.txt"]


async def test_a_search_that_comes_upon_nothing_without_vectors_is_not_degraded(shelf: Shelf) -> None:
    other = await shelf.create(ALICE, "Another")

    async with waiting_for_vectors(shelf):
        elsewhere = await shelf.retrieve()(ALICE, other.id, "quick fox")
        both = await shelf.retrieve()(ALICE, other.id, "quick fox", also=[shelf.id])

    assert (len(elsewhere.passages), elsewhere.degraded) == (0, False)
    assert (len(both.passages), both.degraded) == (1, True)


async def test_a_filter_lets_nothing_through_that_is_not_listed(shelf: Shelf) -> None:
    condition = Comparison(key="doc_name", operator=Operator.EQUAL, value="notes.txt")

    async with waiting_for_vectors(shelf):
        found = await shelf.retrieve()(ALICE, shelf.id, "quick fox", where=condition)

    assert (len(found.passages), found.degraded) == (0, False)


async def test_nobody_else_finds_it(shelf: Shelf) -> None:
    theirs = await shelf.create(BOB, "Bob's")

    async with waiting_for_vectors(shelf) as (document, _):
        with pytest.raises(KnowledgeBaseNotFound):
            await shelf.retrieve()(BOB, shelf.id, "quick fox")
        assert not (await shelf.retrieve()(BOB, theirs.id, "quick fox")).passages
        assert await shelf.store.knowledge_views.quotation(BOB, document, 0, 5) is None


# Trying again --------------------------------------------------------------------------------------------------------


async def test_the_words_of_the_first_try_serve_until_one_succeeds(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    shelf.embedder.on = False
    for _ in range(3):
        await try_in_vain(shelf, document)

        found = await search(shelf)
        assert (len(found.passages), found.degraded, await shelf.listed()) == (1, True, [])
        assert await held(shelf) == {(document, 1): 1}

    shelf.embedder.on = True
    async with waiting_for_vectors(shelf):
        assert len((await search(shelf)).passages) == 1

    assert not (await search(shelf)).degraded
    assert await held(shelf) == {(document, 5): 1}


async def test_what_is_not_tried_again_is_not_found_for_a_moment(shelf: Shelf) -> None:
    class Refusing(HashEmbedder):
        async def embed_document(self, texts: Sequence[str]) -> Embedded:
            raise EmbeddingKeyRejected

    shelf.patience = timedelta(hours=1)
    shelf.embedder.inside = Refusing()
    document = await shelf.submit(TEXT)

    await try_in_vain(shelf, document, EmbeddingKeyRejected)

    assert await held(shelf) == {}
    assert not (await search(shelf)).passages


async def test_a_document_that_fails_for_good_is_not_found_any_more(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    shelf.embedder.on = False
    await try_in_vain(shelf, document)

    await shelf.work()

    assert (await shelf.status(document)).document.reason == "embedding_failed"
    assert not (await search(shelf)).passages
    assert await held(shelf) == {}
    assert not await shelf.blobs.keys()


async def test_a_try_that_cannot_be_read_any_more_takes_the_words_along(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    shelf.embedder.on = False
    await try_in_vain(shelf, document)
    (key,) = await shelf.blobs.keys()
    await shelf.blobs.put(key, content("broken"))

    with pytest.raises(DocumentUnreadable):
        await shelf.ingest(JobId(document), lambda _: None)
    await shelf.work()

    assert not (await search(shelf)).passages
    assert await held(shelf) == {}


async def content(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


async def test_whoever_was_outrun_leaves_the_words_to_those_who_are_at_it(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    outrun, embedder = await begun(shelf, document)
    shelf.embedder.on = False
    await try_in_vain(shelf, document)
    shelf.embedder.on = True

    embedder.go_on.set()
    await outrun
    meanwhile, there = await search(shelf), await held(shelf)
    await shelf.ingest(JobId(document), lambda _: None)

    assert len(meanwhile.passages) == 1
    assert there == {(document, 1): 1}
    assert await shelf.listed() == ["notes.txt"]
    assert await held(shelf) == {(document, 4): 1}


# Other ends ----------------------------------------------------------------------------------------------------------


async def test_a_new_version_does_not_go_ahead_beside_the_old_one(shelf: Shelf) -> None:
    await shelf.upload("The quick old fox.")
    shelf.embedder.on = False
    new = await shelf.submit("The quick new fox.", replace=True)

    await try_in_vain(shelf, new)

    assert [passage.chunk.text for passage in (await search(shelf)).passages] == ["The quick old fox."]


async def test_a_new_version_takes_the_place_of_one_that_waits(shelf: Shelf) -> None:
    async with waiting_for_vectors(shelf, "The quick old fox."):
        new = await shelf.submit("The quick new fox.", replace=True)
        await shelf.work()
        assert await shelf.found("fox") == ["The quick new fox."]

    assert await shelf.found("fox") == ["The quick new fox."]
    assert list(await held(shelf)) == [(new, 1)]


@pytest.mark.parametrize("end", ["cancelled", "deleted", "shelf deleted"])
async def test_what_is_not_wanted_any_more_is_gone_at_once(shelf: Shelf, end: str) -> None:
    async with waiting_for_vectors(shelf) as (document, _):
        match end:
            case "cancelled":
                await shelf.cancel(ALICE, document)
            case "deleted":
                await shelf.delete_document(ALICE, shelf.id, document)
            case _:
                await shelf.delete(ALICE, shelf.id)
        if end != "shelf deleted":
            assert not (await search(shelf)).passages

    await shelf.recover()
    assert await held(shelf) == {}
    assert not await shelf.blobs.keys()
    assert not await shelf.tombstones()


async def test_what_is_cancelled_before_its_words_are_there_never_is(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    shelf.embedder.inside = Held()

    class Cancelling(MemoryPassageIndex):
        async def add(self, space: EmbeddingSpace, chunks: Sequence[StoredChunk], *, new: bool = False) -> None:
            await super().add(space, chunks, new=new)
            await shelf.cancel(ALICE, document)

    shelf.index = Cancelling()
    await shelf.work()

    assert (await shelf.status(document)).document.reason == "ingestion_cancelled"
    assert await held(shelf) == {}


# A lost index, and another space -------------------------------------------------------------------------------------


async def test_a_lost_index_gets_the_words_back(shelf: Shelf) -> None:
    async with waiting_for_vectors(shelf) as (document, _):
        before = await held(shelf)
        await shelf.index.clear()

        assert await shelf.mend.if_smaller() == 1
        assert await held(shelf) == before
        assert await shelf.reindex(anew=True) == 1
        assert await held(shelf) == before
        assert len((await search(shelf)).passages) == 1

    assert await held(shelf) == {(document, 2): 1}
    assert await shelf.mend() == 0


async def test_words_that_were_put_back_too_late_do_not_stay(shelf: Shelf) -> None:
    added = asyncio.Event()

    class Gate(MemoryPassageIndex):
        late = False

        async def add(self, space: EmbeddingSpace, chunks: Sequence[StoredChunk], *, new: bool = False) -> None:
            if not new and not self.late:
                self.late = True
                added.set()
                while not await shelf.listed():  # noqa: ASYNC110 - nobody says when
                    await asyncio.sleep(0)
            await super().add(space, chunks, new=new)

    shelf.index = Gate()
    async with waiting_for_vectors(shelf) as (document, _):
        await shelf.index.clear()
        mending = asyncio.create_task(shelf.mend())
        await added.wait()
    await mending

    assert await held(shelf) == {(document, 2): 1}
    assert not (await search(shelf)).degraded


async def test_words_do_not_go_along_into_another_space(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    shelf.embedder.on = False
    await try_in_vain(shelf, document)

    await shelf.start(ALICE, shelf.id, "letters")
    moved = await search(shelf)
    await shelf.recover()

    letters = LetterEmbedder().space
    assert (len(moved.passages), moved.degraded) == (0, False)
    assert (await search(shelf)).passages
    assert await shelf.listed() == ["notes.txt"]
    assert await held(shelf, letters) == {(document, 3): 1}
    await shelf.roll_back(ALICE, shelf.id)
    shelf.embedder.on = True
    await shelf.recover()
    assert await held(shelf) == {(document, 3): 1}
    assert not (await search(shelf)).degraded


async def test_a_move_during_the_wait_is_noticed_and_the_next_try_is_for_the_new_space(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    working, embedder = await begun(shelf, document)

    await shelf.start(ALICE, shelf.id, "letters")
    embedder.go_on.set()
    with pytest.raises(EmbeddingModelChanged):
        await working
    await shelf.recover()

    assert await shelf.listed() == ["notes.txt"]
    assert not (await search(shelf)).degraded


# Cut off -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DatabaseUnavailable, IndexUnavailable, PowerCut])
@pytest.mark.parametrize("afterwards", [False, True])
async def test_an_upload_whose_words_go_ahead_can_be_cut_off_anywhere(
    tmp_path: Path, error: Callable[[], BaseException], afterwards: bool
) -> None:
    for faults in faults_at_every_call(error, afterwards=afterwards):
        await check_an_upload_with(faults, tmp_path)


@pytest.mark.parametrize("afterwards", [False, True])
async def test_a_process_killed_while_words_go_ahead_leaves_nothing_half(tmp_path: Path, afterwards: bool) -> None:
    for faults in deaths_at_every_call(afterwards=afterwards):
        await check_an_upload_with(faults, tmp_path)


async def check_an_upload_with(faults: Faults, folder: Path) -> None:
    """What is listed has vectors; what is found beside that says so; and after all there is one thing, once."""
    shelf = await Shelf(folder).open()
    shelf.patience = AT_ONCE
    shelf.embedder.inside = Hesitant()
    shelf.faults = faults
    document = None
    with suppress(DomainError, PowerCut):
        document = await shelf.submit(TEXT)
        await shelf.work()
    shelf.faults = None

    found, listed = await search(shelf), await shelf.listed()
    assert len(found.passages) in ({1} if listed else {0, 1})
    assert found.degraded is (len(found.passages) > len(listed))

    await shelf.recover()
    listed = await shelf.listed()
    found = await search(shelf)
    assert await shelf.indexed("fox") == len(found.passages) == len(listed)
    assert not found.degraded
    assert not await shelf.tombstones()
    assert len(await shelf.blobs.keys()) == len(listed)
    assert await shelf.mend() == 0
    if document:
        assert (await shelf.status(document)).is_settled
