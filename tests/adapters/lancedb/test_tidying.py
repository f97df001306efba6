import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import lancedb
import pytest

from llm_backend.application.indexing import OptimizeIndex
from llm_backend.domain.errors import IndexUnavailable
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.lancedb.database import connect, table_name
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.infrastructure.lancedb.table import PassageTable
from llm_backend.infrastructure.lancedb.tidying import TIDIER, Tidying
from llm_backend.testing.contracts.passage_index import EAST, OTHER_SPACE, SHELF, SPACE, stored, texts


async def unindexed_rows(folder: Path, space: EmbeddingSpace = SPACE) -> int:
    table = await (await lancedb.connect_async(folder)).open_table(table_name(space))
    statistics = await table.index_stats("search_text_idx")
    assert statistics is not None
    return statistics.num_unindexed_rows


def lose_data(folder: Path) -> None:
    for data in folder.glob("*.lance/data/*"):
        data.unlink()


def tidiers() -> set[int]:
    """The processes that put our tables in order at this moment."""
    found = set[int]()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may be gone
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and TIDIER.encode() in (process / "cmdline").read_bytes():
                found.add(int(process.name))
    return found


async def test_large_tables_are_put_in_order_by_another_process_beside_searches_and_writes(tmp_path: Path) -> None:
    async with LanceDbPassageIndex(str(tmp_path), tidied_apart=1) as index:
        await index.add(SPACE, [stored("old fox")])

        tidying = asyncio.create_task(index.optimize())
        while not tidying.done():
            found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)
            assert texts(found) == ["old fox"]
            await asyncio.sleep(0.05)
        await tidying

        assert await unindexed_rows(tmp_path) == 0
        await index.add(SPACE, [stored("new fox", position=1)])
        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)
        assert texts(found) == ["new fox", "old fox"]


async def test_housekeeping_does_not_wait_for_it_to_be_done(tmp_path: Path) -> None:
    async with LanceDbPassageIndex(str(tmp_path), tidied_apart=1) as index:
        await index.add(SPACE, [stored("fox")])

        for _ in range(2):  # once while it is being done as well
            await asyncio.wait_for(
                OptimizeIndex(index, patience=timedelta(0))(), 0.5
            )  # the process takes longer to start
            assert await unindexed_rows(tmp_path) > 0

        async with asyncio.timeout(30):
            while await unindexed_rows(tmp_path) > 0:  # noqa: ASYNC110 - nobody tells when it is done
                await asyncio.sleep(0.05)


async def test_a_search_that_fails_meanwhile_does_not_begin_it_again(tmp_path: Path) -> None:
    seen = set[int]()
    async with LanceDbPassageIndex(str(tmp_path), tidied_apart=1) as index:
        await index.add(SPACE, [stored("fox")])
        for _ in range(3):
            await index.optimize(patience=timedelta(0))
            with pytest.raises(IndexUnavailable):
                await index.search(SPACE, SHELF, text="fox", vector=EAST[:1], limit=10)
            await index.optimize(patience=timedelta(0))
        while await unindexed_rows(tmp_path) or tidiers():
            seen |= tidiers()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert not tidiers()

    assert len(seen) == 1


async def test_what_is_written_meanwhile_is_indexed_the_next_time(tmp_path: Path) -> None:
    async def elsewhere(_name: str) -> None:
        await another.optimize()
        await table.add([stored("late fox", position=1)], new=True)

    connection = await connect(str(tmp_path), {})
    table = await PassageTable.make(connection, table_name(SPACE), SPACE.dimensions, timedelta(hours=1))
    another = await PassageTable.make(connection, table_name(SPACE), SPACE.dimensions, timedelta(hours=1))
    await table.add([stored("fox")], new=True)

    await table.optimize(elsewhere)
    assert await unindexed_rows(tmp_path) == 1
    await table.optimize()

    assert await unindexed_rows(tmp_path) == 0


async def test_what_fails_within_the_patience_of_housekeeping_is_told(tmp_path: Path) -> None:
    async with LanceDbPassageIndex(str(tmp_path)) as index:
        await index.add(SPACE, [stored("fox")])
        lose_data(tmp_path)

        with pytest.raises(IndexUnavailable):
            await index.optimize(patience=timedelta(minutes=1))


async def test_processes_for_several_tables_come_one_after_the_other(tmp_path: Path) -> None:
    async with LanceDbPassageIndex(str(tmp_path), tidied_apart=1) as index:
        await index.add(SPACE, [stored("fox")])
        await index.add(OTHER_SPACE, [stored("fox", vector=None)])

        await index.optimize(patience=timedelta(0))

        at_once = 0
        async with asyncio.timeout(60):
            while await unindexed_rows(tmp_path) + await unindexed_rows(tmp_path, OTHER_SPACE) > 0:
                at_once = max(at_once, len(tidiers()))
                await asyncio.sleep(0.01)
        assert at_once == 1


async def test_what_another_process_is_at_does_not_hold_up_the_end(tmp_path: Path) -> None:
    index = LanceDbPassageIndex(str(tmp_path), tidied_apart=1)
    await index.add(SPACE, [stored("fox")])
    tidying = asyncio.create_task(index.optimize())
    await asyncio.sleep(0.2)  # some time before it is ready

    await index.aclose()

    await asyncio.wait([tidying], timeout=5)
    assert tidying.done()
    async with LanceDbPassageIndex(str(tmp_path)) as again:
        assert texts(await again.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["fox"]


async def test_it_is_told_when_it_was_not_done(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tidying = Tidying(str(tmp_path / "file"), {}, timedelta(hours=1))

    with pytest.raises(RuntimeError):
        await tidying("passages")
