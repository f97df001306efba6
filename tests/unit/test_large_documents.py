"""A document with more passages than fit into memory with their vectors: in parts, and never by halves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llm_backend.application.embedding_in_parts import SAMPLED, in_parts
from llm_backend.application.ports.embedder import Embedded
from llm_backend.application.ports.jobs import JobId, Progress
from llm_backend.domain.errors import DatabaseUnavailable, DomainError, IndexUnavailable
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.testing.faults import Faults, faults_at_every_call
from tests.unit.shelves import ALICE, LetterEmbedder, Shelf
from tests.unit.test_ingestion import PowerCut, deaths_at_every_call
from tests.unit.test_reindexing import begin, space

WORDS = ("apple", "birch", "cedar", "daisy", "elder")
TEXT = "\n\n".join(f"{word} fox " * 90 for word in WORDS)
LETTERS = LetterEmbedder().space


@dataclass(frozen=True, slots=True)
class Recording(LetterEmbedder):
    """Notes how many texts it is given each time; the second part has to wait to be let go on."""

    given: list[int] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        self.given.append(len(texts))
        if len(self.given) == 2:
            await self.go_on.wait()
        return await LetterEmbedder.embed_document(self, texts)


@pytest.fixture
async def shelf(tmp_path: Path) -> Shelf:
    return await opened(tmp_path)


async def opened(folder: Path) -> Shelf:
    shelf = await Shelf(folder).open()
    shelf.part = 2
    return shelf


async def held(shelf: Shelf, in_space: EmbeddingSpace | None = None) -> dict[tuple[DocumentId, int], int]:
    return dict(await shelf.index.holdings(in_space or shelf.embedder.space))


@asynccontextmanager
async def half_embedded(shelf: Shelf) -> AsyncIterator[Recording]:
    """What is to be read in is at its second part; at the end of the block it goes on to its end."""
    shelf.other_embedder.inside = embedder = Recording()
    working = asyncio.create_task(shelf.work())
    while len(embedder.given) < 2:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(0)
    try:
        yield embedder
    finally:
        embedder.go_on.set()
        await working


async def test_it_comes_out_as_if_it_had_been_read_in_as_a_whole(shelf: Shelf) -> None:
    await shelf.upload(TEXT)
    shelf.part = 1000
    await shelf.upload(TEXT + "\n\nmore")

    views = shelf.store.knowledge_views
    chunks = await views.chunks(HashEmbedder().space)
    in_parts_, whole = chunks[: len(WORDS)], chunks[len(WORDS) :]
    assert [one.vector for one in in_parts_] == [one.vector for one in whole[: len(WORDS)]]
    assert None not in [one.vector for one in in_parts_]
    assert await held(shelf) == {(in_parts_[0].document, 2): 5, (whole[0].document, 1): 6}
    assert len(await views.statistics(shelf.id, HashEmbedder().space)) == 2
    assert len(await shelf.listed()) == 2


async def test_it_says_how_far_it_is(shelf: Shelf) -> None:
    document = await shelf.submit(TEXT)
    told: list[Progress] = []

    await shelf.ingest(JobId(document), told.append)

    assert [(one.step, one.percent) for one in told] == [
        ("parsing", 10),
        ("embedding", 40),
        ("embedding", 56),
        ("embedding", 72),
        ("embedding", 80),
        ("indexing", 80),
        ("done", 100),
    ]


async def test_until_the_last_vector_it_is_found_by_its_words_and_in_nobodys_way(shelf: Shelf) -> None:
    shelf.id = (await shelf.create(ALICE, "Letters", "letters")).id
    document = await shelf.submit(TEXT)

    async with half_embedded(shelf):
        meanwhile = await shelf.retrieve()(ALICE, shelf.id, "fox", top_k=10)
        assert (len(meanwhile.passages), meanwhile.degraded) == (len(WORDS), True)
        assert await held(shelf, LETTERS) == {(document, 1): len(WORDS)}
        assert not await shelf.listed()
    afterwards = await shelf.retrieve()(ALICE, shelf.id, "fox", top_k=10)

    assert (len(afterwards.passages), afterwards.degraded) == (len(WORDS), False)
    assert await held(shelf, LETTERS) == {(document, 2): len(WORDS)}
    assert await shelf.listed() == ["notes.txt"]


async def test_a_new_version_takes_the_place_of_the_old_one_at_its_end(shelf: Shelf) -> None:
    shelf.id = (await shelf.create(ALICE, "Letters", "letters")).id
    await shelf.upload("The old version", replace=True)
    document = await shelf.submit(TEXT, replace=True)

    async with half_embedded(shelf):
        assert await shelf.found("old") == ["The old version"]
        assert len(await held(shelf, LETTERS)) == 1
    await shelf.look_on()

    assert len(await shelf.found("fox")) == len(WORDS)
    assert await held(shelf, LETTERS) == {(document, 1): len(WORDS)}


async def test_what_is_not_wanted_any_more_is_not_embedded_to_its_end(shelf: Shelf) -> None:
    shelf.id = (await shelf.create(ALICE, "Letters", "letters")).id
    document = await shelf.submit(TEXT)

    async with half_embedded(shelf) as embedder:
        await shelf.delete_document(ALICE, shelf.id, document)
    await shelf.look_on()

    assert embedder.given == [2, 2]
    assert not await held(shelf, LETTERS)
    assert not await shelf.blobs.keys()


async def test_statistics_are_those_of_passages_from_everywhere() -> None:
    texts = [f"word{number} fox" for number in range(3 * SAMPLED)]
    embedder = HashEmbedder()

    told = {embedded.statistics async for _, embedded in in_parts(embedder, texts, 50)}

    assert told == {(await embedder.embed_document(texts[::3])).statistics}


# Cut off -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DatabaseUnavailable, IndexUnavailable, PowerCut])
@pytest.mark.parametrize("afterwards", [False, True])
async def test_it_can_be_cut_off_anywhere(tmp_path: Path, error: Callable[[], BaseException], afterwards: bool) -> None:
    for faults in faults_at_every_call(error, afterwards=afterwards):
        await check_an_upload_with(faults, tmp_path)


@pytest.mark.parametrize("afterwards", [False, True])
async def test_a_process_killed_anywhere_leaves_nothing_half(tmp_path: Path, afterwards: bool) -> None:
    for faults in deaths_at_every_call(afterwards=afterwards):
        await check_an_upload_with(faults, tmp_path)


async def check_an_upload_with(faults: Faults, folder: Path) -> None:
    """All of its passages are found or none; and after all there are all of them, once, with vectors."""
    shelf = await opened(folder)
    shelf.faults = faults
    with suppress(DomainError, PowerCut):
        await shelf.submit(TEXT)
        await shelf.work()
    shelf.faults = None

    found, listed = await shelf.found("fox"), await shelf.listed()
    assert len(found) in ({len(WORDS)} if listed else {0, len(WORDS)})

    await shelf.recover()
    listed = await shelf.listed()
    assert await shelf.indexed("fox") == len(await shelf.found("fox")) == len(WORDS) * len(listed)
    chunks = await shelf.store.knowledge_views.chunks(HashEmbedder().space)
    assert len(chunks) == len(WORDS) * len(listed)
    assert None not in [one.vector for one in chunks]
    assert not await shelf.tombstones()
    assert await shelf.mend() == 0


# Another embedding model ---------------------------------------------------------------------------------------------


async def test_it_moves_into_another_space_in_parts(shelf: Shelf) -> None:
    await shelf.upload(TEXT)
    shelf.other_embedder.inside = embedder = Recording()
    embedder.go_on.set()

    await begin(shelf)
    await shelf.work()

    assert embedder.given == [2, 2, 1]
    assert await space(shelf) == LETTERS
    assert len(await shelf.found("fox")) == len(WORDS)
    assert None not in [one.vector for one in await shelf.store.knowledge_views.chunks(LETTERS)]


async def test_a_move_can_be_cut_off_anywhere(tmp_path: Path) -> None:
    for error in (DatabaseUnavailable, IndexUnavailable, PowerCut):
        for afterwards in (False, True):
            for faults in faults_at_every_call(error, afterwards=afterwards):
                await check_a_move_with(faults, tmp_path)


async def check_a_move_with(faults: Faults, folder: Path) -> None:
    shelf = await opened(folder)
    await shelf.upload(TEXT)
    await begin(shelf)
    shelf.faults = faults
    with suppress(DomainError, PowerCut):
        await shelf.work()
    shelf.faults = None
    assert len(await shelf.found("fox")) == len(WORDS)

    await shelf.recover()

    if await space(shelf) != LETTERS:  # it was given up
        await begin(shelf)
        await shelf.recover()
    assert len(await shelf.found("fox")) == len(WORDS)
    assert await shelf.index.size(LETTERS, shelf.id) == len(WORDS)
    assert await shelf.mend() == 0


async def test_a_document_deleted_while_it_moves_leaves_nothing_in_the_new_space(shelf: Shelf) -> None:
    document = (await shelf.upload(TEXT)).document.id
    shelf.other_embedder.inside = embedder = Recording()
    await begin(shelf)
    working = asyncio.create_task(shelf.work())
    while len(embedder.given) < 2:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(0)

    await shelf.delete_document(ALICE, shelf.id, document)
    embedder.go_on.set()
    await working
    await shelf.look_on()

    assert embedder.given == [2, 2]
    assert not await held(shelf, LETTERS)
