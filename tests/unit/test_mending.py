import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from llm_backend.application.mending import IndexState, MendIndex, WatchIndex
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.domain.errors import DatabaseUnavailable, DomainError, IndexUnavailable
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, StoredChunk
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.testing.faults import faults_at_every_call
from tests.unit.shelves import ALICE, Shelf

LONG_TEXT = "\n\n".join(f"Paragraph {n} about foxes and dogs. " * 20 for n in range(60))
NEVER = timedelta(hours=1)


@pytest.fixture
async def shelf(tmp_path: Path) -> Shelf:
    return await Shelf(tmp_path).open()


class Gate(MemoryPassageIndex):
    """Nothing is added while it is closed; and it tells when somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.waited = asyncio.Event()

    async def add(self, space: EmbeddingSpace, chunks: Sequence[StoredChunk], *, new: bool = False) -> None:
        if not self.open.is_set():
            self.waited.set()
            await self.open.wait()
        await super().add(space, chunks, new=new)


async def lose(index: PassageIndex, shelf: Shelf, document: DocumentId) -> None:
    await index.remove(shelf.embedder.space, [document])


class TestMending:
    async def test_nothing_is_added_when_nothing_is_missing(self, shelf: Shelf) -> None:
        await shelf.upload(LONG_TEXT)

        assert await shelf.mend() == 0
        assert await shelf.mend.if_smaller() == 0

    async def test_what_is_missing_is_added_and_nothing_else(self, shelf: Shelf) -> None:
        kept, _ = await shelf.upload("A kept fox.", "kept.txt")
        lost, chunks = await shelf.upload(LONG_TEXT, "lost.txt")
        before = await shelf.index.holdings(shelf.embedder.space)
        await lose(shelf.index, shelf, lost.id)

        assert await shelf.mend.if_smaller() == chunks
        assert await shelf.index.holdings(shelf.embedder.space) == before
        assert (kept.id, 1) in before

    async def test_deleted_and_unfinished_documents_do_not_come_back(self, shelf: Shelf) -> None:
        document, _ = await shelf.upload("A deleted fox.")
        await shelf.delete_document(ALICE, shelf.id, document.id)

        assert await shelf.mend() == 0
        assert not await shelf.index.holdings(shelf.embedder.space)

    async def test_what_is_deleted_meanwhile_does_not_stay(self, shelf: Shelf) -> None:
        shelf.index = gate = Gate()
        document, _ = await shelf.upload("A fox to be deleted.")
        await shelf.index.clear()
        gate.open.clear()

        mending = asyncio.create_task(shelf.mend())
        await gate.waited.wait()
        await shelf.delete_document(ALICE, shelf.id, document.id)
        gate.open.set()
        await mending

        assert not await shelf.index.holdings(shelf.embedder.space)

    @pytest.mark.parametrize("error", [DatabaseUnavailable, IndexUnavailable])
    async def test_cut_off_anywhere_it_can_be_done_again(self, tmp_path: Path, error: type[DomainError]) -> None:
        shelf = await Shelf(tmp_path).open()
        for name in ("one", "two"):
            await shelf.upload(f"A fox {name}.", f"{name}.txt")
        whole = await shelf.index.holdings(shelf.embedder.space)

        for faults in faults_at_every_call(error):
            await shelf.index.clear()
            shelf.faults = faults
            try:
                await shelf.mend()
            except error:
                shelf.faults = None
                await shelf.mend()
            shelf.faults = None

            assert await shelf.index.holdings(shelf.embedder.space) == whole
            assert not shelf.state.incomplete

    async def test_two_at_once_add_everything_once(self, shelf: Shelf) -> None:
        await shelf.upload(LONG_TEXT)
        whole = await shelf.index.holdings(shelf.embedder.space)
        await shelf.index.clear()
        other = MendIndex(shelf.store.knowledge_views, shelf.index, IndexState())

        await asyncio.gather(shelf.mend(), other())

        assert await shelf.index.holdings(shelf.embedder.space) == whole


class TestSearchMeanwhile:
    async def test_it_is_unavailable_rather_than_empty_when_all_is_lost(self, shelf: Shelf) -> None:
        await shelf.upload("A quick fox.")
        await shelf.index.clear()

        with pytest.raises(IndexUnavailable):
            await shelf.retrieve()(ALICE, shelf.id, "fox")

        assert await shelf.state.suspicion(within=timedelta(0))
        await shelf.mend()
        assert await shelf.found("fox") == ["A quick fox."]

    async def test_an_empty_knowledge_base_finds_nothing_as_ever(self, shelf: Shelf) -> None:
        await shelf.upload("A quick fox.")
        other = await shelf.create(ALICE, "Empty")

        assert not (await shelf.retrieve()(ALICE, other.id, "fox")).passages
        assert not await shelf.state.suspicion(within=timedelta(0))

    async def test_it_is_degraded_while_documents_come_back(self, shelf: Shelf) -> None:
        shelf.index = gate = Gate()
        await shelf.upload("A quick fox.", "one.txt")
        lost, _ = await shelf.upload("A slow fox.", "two.txt")
        await lose(shelf.index, shelf, lost.id)
        gate.open.clear()

        mending = asyncio.create_task(shelf.mend())
        await gate.waited.wait()
        meanwhile = await shelf.retrieve()(ALICE, shelf.id, "fox")
        with pytest.raises(IndexUnavailable):
            await shelf.state.check()
        gate.open.set()
        await mending
        afterwards = await shelf.retrieve()(ALICE, shelf.id, "fox")

        assert (len(meanwhile.passages), meanwhile.degraded) == (1, True)
        assert (len(afterwards.passages), afterwards.degraded) == (2, False)
        await shelf.state.check()


class TestReindexing:
    async def test_it_leaves_what_is_well(self, shelf: Shelf) -> None:
        await shelf.upload("A quick fox.")
        shelf.index = gate = Gate()
        await shelf.mend()
        gate.open.clear()  # whatever would be added now would wait for ever

        assert await shelf.reindex() == 1

    async def test_anew_it_builds_everything_again(self, shelf: Shelf) -> None:
        await shelf.upload("A quick fox.")
        before = await shelf.index.holdings(shelf.embedder.space)
        await shelf.index.add(shelf.embedder.space, [])

        assert await shelf.reindex(anew=True) == 1
        assert await shelf.index.holdings(shelf.embedder.space) == before
        assert not shelf.state.incomplete


class Observed(MemoryPassageIndex):
    """Tells whether all was compared or only counted."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: asyncio.Queue[str] = asyncio.Queue()
        self.away = False

    async def holdings(self, space: EmbeddingSpace) -> Mapping[tuple[DocumentId, int], int]:
        self.looks.put_nowait("all")
        if self.away:
            raise IndexUnavailable
        return await super().holdings(space)

    async def size(self, space: EmbeddingSpace, knowledge_base: KnowledgeBaseId | None = None) -> int:
        if knowledge_base is None:
            self.looks.put_nowait("size")
        return await super().size(space, knowledge_base)


class TestWatching:
    @pytest.fixture
    async def index(self, shelf: Shelf) -> Observed:
        shelf.index = index = Observed()
        await shelf.upload("A quick fox.")
        return index

    async def test_everything_is_compared_at_the_start_and_on_suspicion(self, shelf: Shelf, index: Observed) -> None:
        await index.clear()

        async with WatchIndex(shelf.mend, pause=timedelta(0)).regularly(NEVER):
            assert await index.looks.get() == "all"
            async with shelf.state.mending:
                assert await shelf.found("fox") == ["A quick fox."]
            await index.clear()
            with pytest.raises(IndexUnavailable):
                await shelf.retrieve()(ALICE, shelf.id, "fox")
            assert await index.looks.get() == "all"
            async with shelf.state.mending:
                assert await shelf.found("fox") == ["A quick fox."]

    async def test_now_and_then_it_is_only_counted(self, shelf: Shelf, index: Observed) -> None:
        async with WatchIndex(shelf.mend, pause=timedelta(0)).regularly(timedelta(0)):
            assert [await index.looks.get() for _ in range(3)] == ["all", "size", "size"]

    async def test_what_fails_is_tried_again(self, shelf: Shelf, index: Observed) -> None:
        index.away = True

        async with WatchIndex(shelf.mend, pause=timedelta(0)).regularly(NEVER):
            assert [await index.looks.get() for _ in range(3)] == ["all", "all", "all"]
