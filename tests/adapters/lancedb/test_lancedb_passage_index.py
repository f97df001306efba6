import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import lancedb
import numpy as np
import pytest

from llm_backend.domain.errors import IndexUnavailable
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, StoredChunk
from llm_backend.infrastructure.lancedb.batches import Batches
from llm_backend.infrastructure.lancedb.database import connect, table_name
from llm_backend.infrastructure.lancedb.index import SEARCHES_AT_ONCE, LanceDbPassageIndex
from llm_backend.infrastructure.lancedb.table import WRITTEN_AT_ONCE, PassageTable
from llm_backend.infrastructure.lancedb.vectors import COMPARED_ONE_BY_ONE, ROWS_IN_A_PARTITION, WORTH_AN_INDEX
from llm_backend.testing.contracts.passage_index import (
    EAST,
    OTHER_SHELF,
    SHELF,
    SPACE,
    PassageIndexContract,
    stored,
    texts,
)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[LanceDbPassageIndex]:
    async with LanceDbPassageIndex(str(tmp_path / "lancedb")) as opened:
        yield opened


class TestPassageIndex(PassageIndexContract):
    pass


async def test_its_folder_is_for_its_owner_alone(index: LanceDbPassageIndex, tmp_path: Path) -> None:
    await index.add(SPACE, [stored("a fox")])

    assert (tmp_path / "lancedb").stat().st_mode & 0o777 == 0o700


async def test_more_searches_than_run_at_once_all_come_to_an_end(index: LanceDbPassageIndex) -> None:
    await index.add(SPACE, [stored("a fox")])

    searches = [index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10) for _ in range(5 * SEARCHES_AT_ONCE)]
    found = await asyncio.gather(*searches)

    assert [texts(each) for each in found] == [["a fox"]] * len(searches)


async def test_a_row_that_is_there_twice_is_found_once_and_stands_for_no_other(
    index: LanceDbPassageIndex, tmp_path: Path
) -> None:
    """Two processes that write the same in one moment may leave it so."""
    await index.add(SPACE, [stored("a fox", vector=EAST), stored("a hare", position=1)])
    database = await lancedb.connect_async(tmp_path / "lancedb")
    table = await database.open_table(table_name(SPACE))
    await table.add(await table.query().to_arrow())

    found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)
    held = await index.holdings(SPACE)

    assert texts(found) == ["a fox", "a hare"]
    assert found[0].parts.text_rank == found[0].parts.vector_rank == 1
    assert list(held.values()) == [2]


def written(folder: Path) -> int:
    """In how many parts."""
    return len(list(folder.glob("*.lance/data/*")))


@pytest.mark.parametrize("new", [True, False])
async def test_much_is_written_in_parts(tmp_path: Path, new: bool) -> None:
    table = await PassageTable.make(await connect(str(tmp_path), {}), "passages", SPACE.dimensions, timedelta(hours=1))

    await table.add([stored(f"fox {place}", position=place) for place in range(2 * WRITTEN_AT_ONCE + 1)], new=new)

    assert written(tmp_path) == 3
    assert await table.size(None) == 2 * WRITTEN_AT_ONCE + 1


async def test_what_is_new_and_what_is_not_may_come_together(index: LanceDbPassageIndex) -> None:
    await index.add(SPACE, [stored("an old fox"), stored("a hare", position=1)])

    await asyncio.gather(
        index.add(SPACE, [stored("a young fox")]), index.add(SPACE, [stored("a third fox", position=2)], new=True)
    )

    found = await index.search(SPACE, SHELF, text="fox hare", vector=None, limit=10)
    assert sorted(texts(found)) == ["a hare", "a third fox", "a young fox"]


class TestCheck:
    async def test_all_is_well_before_and_after_the_first_use(self, index: LanceDbPassageIndex, tmp_path: Path) -> None:
        await index.check()
        assert not (tmp_path / "lancedb").exists()

        await index.add(SPACE, [stored("a fox")])
        await index.check()

    @pytest.mark.parametrize("folder", ["file", "file/lancedb", "file/a/lancedb"])
    async def test_a_file_in_the_way_is_seen_before_the_first_use(self, tmp_path: Path, folder: str) -> None:
        (tmp_path / "file").touch()

        async with LanceDbPassageIndex(str(tmp_path / folder)) as blocked:
            with pytest.raises(IndexUnavailable):
                await blocked.check()

    async def test_a_folder_that_went_away_is_seen_afterwards(self, index: LanceDbPassageIndex, tmp_path: Path) -> None:
        await index.add(SPACE, [stored("a fox")])
        shutil.rmtree(tmp_path / "lancedb")
        (tmp_path / "lancedb").touch()

        with pytest.raises(IndexUnavailable):
            await index.check()

    def test_it_loads_no_library(self) -> None:
        program = (
            "import asyncio, sys\n"
            "from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex\n"
            "for uri in ('lancedb', 's3://bucket/prefix'):\n"
            "    asyncio.run(LanceDbPassageIndex(uri).check())\n"
            "assert 'lancedb' not in sys.modules"
        )

        subprocess.run([sys.executable, "-c", program], check=True)


async def test_what_another_handle_has_written_is_seen_at_once(index: LanceDbPassageIndex, tmp_path: Path) -> None:
    async with LanceDbPassageIndex(str(tmp_path / "lancedb")) as other:
        assert not await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)

        await other.add(SPACE, [stored("a fox")])

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["a fox"]


async def test_an_index_that_another_process_has_rebuilt_is_opened_again(
    index: LanceDbPassageIndex, tmp_path: Path
) -> None:
    await index.add(SPACE, [stored("old fox")])
    async with LanceDbPassageIndex(str(tmp_path / "lancedb")) as other:
        await other.clear()
        await other.add(SPACE, [stored("new fox")])

    assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["new fox"]


class TestLoss:
    @pytest.mark.parametrize("part", ["data", "_indices", "_versions", ""])
    async def test_a_table_with_parts_missing_is_given_up_and_can_be_filled_again(
        self, index: LanceDbPassageIndex, tmp_path: Path, part: str
    ) -> None:
        await index.add(SPACE, [stored("old fox")])
        await index.optimize()
        (table,) = (tmp_path / "lancedb").glob("*.lance")
        shutil.rmtree(table / part)

        async with LanceDbPassageIndex(str(tmp_path / "lancedb")) as other:
            assert await other.holdings(SPACE) == {}
            await other.add(SPACE, [stored("new fox")])

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["new fox"]

    async def test_a_folder_that_went_away_is_made_again(self, index: LanceDbPassageIndex, tmp_path: Path) -> None:
        await index.add(SPACE, [stored("old fox")])
        shutil.rmtree(tmp_path / "lancedb")

        assert not await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)
        assert await index.size(SPACE, SHELF) == 0
        await index.add(SPACE, [stored("new fox")])

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["new fox"]

    async def test_clearing_makes_a_torn_table_whole(self, index: LanceDbPassageIndex, tmp_path: Path) -> None:
        await index.add(SPACE, [stored("old fox")])
        (table,) = (tmp_path / "lancedb").glob("*.lance")
        shutil.rmtree(table / "data")

        async with LanceDbPassageIndex(str(tmp_path / "lancedb")) as other:
            await other.clear()
            await other.add(SPACE, [stored("new fox")])

            assert texts(await other.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["new fox"]

    async def test_a_table_of_an_older_form_counts_as_lost(self, index: LanceDbPassageIndex, tmp_path: Path) -> None:
        old = await lancedb.connect_async(tmp_path / "lancedb")
        await old.create_table(table_name(SPACE), data=[{"document": "document-1", "text": "old fox"}])

        assert await index.holdings(SPACE) == {}
        await index.add(SPACE, [stored("new fox")])

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["new fox"]


async def test_many_new_rows_are_indexed_without_being_asked(index: LanceDbPassageIndex) -> None:
    await asyncio.gather(
        *(index.add(SPACE, [stored(f"fox {n}", document=f"d-{m}", position=n) for n in range(300)]) for m in range(5))
    )

    found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=2000)

    assert len(found) == 1500


async def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    async with LanceDbPassageIndex(str(tmp_path / "file" / "lancedb")) as index:
        with pytest.raises(IndexUnavailable):
            await index.add(SPACE, [stored("a fox")])


async def test_a_vector_of_other_dimensions_is_refused(index: LanceDbPassageIndex) -> None:
    with pytest.raises(IndexUnavailable):
        await index.add(SPACE, [stored("a fox", vector=bytes(8))])


async def test_names_of_models_never_meet(index: LanceDbPassageIndex) -> None:
    spaces = [EmbeddingSpace(model=model, dimensions=4) for model in ("a/b", "a-b", "A/B", "../x", "é" * 300, "")]

    for number, space in enumerate(spaces):
        await index.add(space, [stored(f"fox {number}")])

    for number, space in enumerate(spaces):
        assert texts(await index.search(space, SHELF, text="fox", vector=EAST, limit=10)) == [f"fox {number}"]


async def test_a_document_can_be_removed_while_others_come_in(index: LanceDbPassageIndex) -> None:
    await index.add(SPACE, [stored("fox gone", document="gone")])

    await asyncio.gather(
        index.remove(SPACE, [DocumentId("gone")]),
        *(index.add(SPACE, [stored(f"fox {n}", document=f"document-{n}")]) for n in range(10)),
    )

    found = texts(await index.search(SPACE, SHELF, text="fox", vector=None, limit=50))
    assert len(found) == 10
    assert "fox gone" not in found


def test_lancedb_is_not_imported_before_it_is_needed() -> None:
    program = (
        "import sys; from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex; "
        "LanceDbPassageIndex('memory://'); print({'lancedb', 'pyarrow', 'numpy'} & set(sys.modules))"
    )

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "set()"


async def test_writes_that_wait_become_one() -> None:
    written: list[list[int]] = []
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def write(items: Sequence[int]) -> None:
        written.append(list(items))
        begun.set()
        await may_end.wait()

    batches = Batches(write)
    adding = [asyncio.create_task(batches.add([1]))]
    await begun.wait()
    adding += [asyncio.create_task(batches.add([number])) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.gather(*adding)

    assert written == [[1], [2, 3, 4]]


async def test_what_comes_soon_after_a_write_gathers_for_the_next() -> None:
    written: list[list[int]] = []

    async def write(items: Sequence[int]) -> None:
        written.append(list(items))

    batches = Batches(write, pause=0.05)
    await batches.add([1])
    second = asyncio.create_task(batches.add([2]))
    for _ in range(10):  # time enough for a write, if it were not resting
        await asyncio.sleep(0)
    await asyncio.gather(second, batches.add([3]))

    assert written == [[1], [2, 3]]


async def test_a_write_that_fails_fails_for_all_in_it_and_for_nobody_else() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def write(items: Sequence[int]) -> None:
        begun.set()
        await may_end.wait()
        if 2 in items:
            raise ValueError

    batches = Batches(write)
    first = asyncio.create_task(batches.add([1]))
    await begun.wait()
    others = asyncio.gather(batches.add([2]), batches.add([3]), return_exceptions=True)
    await asyncio.sleep(0)
    may_end.set()

    await first
    assert [type(result) for result in await others] == [ValueError, ValueError]
    await batches.add([4])


async def test_whoever_is_cancelled_takes_nobody_along() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    written: list[int] = []

    async def write(items: Sequence[int]) -> None:
        begun.set()
        await may_end.wait()
        written.extend(items)

    batches = Batches(write)
    first = asyncio.create_task(batches.add([1]))
    await begun.wait()
    second = asyncio.create_task(batches.add([2]))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    may_end.set()

    await second
    assert written == [1, 2]


async def test_a_large_table_gets_a_vector_index_that_changes_next_to_nothing(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    centres = chance.standard_normal((50, 16))
    space = EmbeddingSpace(model="large", dimensions=16)

    def some(shelf: KnowledgeBaseId, count: int) -> list[StoredChunk]:
        rows = centres[chance.integers(0, 50, count)] + chance.standard_normal((count, 16))
        vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
        return [
            stored(f"fox {n}", document=f"{shelf}-{n // 100}", position=n % 100, shelf=shelf, vector=vector.tobytes())
            for n, vector in enumerate(vectors)
        ]

    async def nearest(index: LanceDbPassageIndex, asked: StoredChunk, limit: int = 100) -> set[tuple[str, int]]:
        found = await index.search(space, asked.knowledge_base, text="", vector=asked.vector, limit=limit)
        return {(one.stored.document, one.stored.chunk.position) for one in found}

    large, small = some(SHELF, 20_000), some(OTHER_SHELF, 50)
    async with LanceDbPassageIndex(str(tmp_path)) as index, LanceDbPassageIndex(str(tmp_path)) as elsewhere:
        for first in range(0, len(large), 5000):
            await index.add(space, large[first : first + 5000])
        await index.add(space, small)
        assert len(await nearest(elsewhere, small[0])) == 50  # before there is an index that it knows of
        exact = [await nearest(index, asked) for asked in large[:10]]

        await index.optimize()

        table = await (await lancedb.connect_async(tmp_path)).open_table(table_name(space))
        assert any(one.name.startswith("vectors_") for one in await table.list_indices())
        again = [await nearest(index, asked) for asked in large[:10]]
        shared = [len(before & after) for before, after in zip(exact, again, strict=True)]
        assert sum(shared) >= 950
        assert len(await nearest(index, small[0])) == len(await nearest(elsewhere, small[0])) == 50
        await index.add(space, [replace(large[0], document=DocumentId("new"))])
        assert ("new", 0) in await nearest(index, large[0], limit=3)
        found = await index.search(space, SHELF, text="", vector=large[0].vector, limit=10)
        assert max(one.parts.cosine for one in found) == pytest.approx(1, abs=1e-5)


async def test_a_small_part_of_a_large_table_is_looked_at_as_thoroughly(tmp_path: Path) -> None:
    """Its hundred nearest lie in many of the partitions, of which a large knowledge base needs few."""
    chance = np.random.default_rng(1)
    space = EmbeddingSpace(model="large", dimensions=16)
    few, many = COMPARED_ONE_BY_ONE + 500, 15 * ROWS_IN_A_PARTITION
    rows = chance.standard_normal((few + many, 16))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
    chunks = [
        stored("fox", document=f"{n // 100}", position=n % 100, shelf=shelf, vector=vectors[n].tobytes())
        for n, shelf in enumerate([SHELF] * few + [OTHER_SHELF] * many)
    ]
    async with LanceDbPassageIndex(str(tmp_path), tidied_apart=sys.maxsize) as index:
        await index.add(space, chunks, new=True)
        await index.optimize()

        found = await index.search(space, SHELF, text="", vector=vectors[0].tobytes(), limit=100)

    nearest = np.argsort(-(vectors[:few] @ vectors[0]))[:100]
    places = {100 * int(one.stored.document) + one.stored.chunk.position for one in found}
    assert len(places & {int(n) for n in nearest}) >= 98


async def test_a_large_table_without_vectors_is_tidied_like_any_other(tmp_path: Path) -> None:
    """As after a long document whose embedding model is away: nothing can be learned of vectors that are not there."""
    words = [stored(f"fox {n}", document="words", position=n, vector=None) for n in range(WORTH_AN_INDEX)]

    async with LanceDbPassageIndex(str(tmp_path), tidied_apart=sys.maxsize) as index:
        await index.add(SPACE, words, new=True)
        await index.optimize()
        found = await index.search(SPACE, SHELF, text="fox 7", vector=EAST, limit=10)

    assert len(found) == 10
    assert all(one.parts.vector_rank is None for one in found)
