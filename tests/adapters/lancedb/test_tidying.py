import asyncio
from datetime import timedelta
from pathlib import Path

import lancedb
import pytest

from llm_backend.infrastructure.lancedb.database import table_name
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.infrastructure.lancedb.tidying import Tidying
from llm_backend.testing.contracts.passage_index import EAST, SHELF, SPACE, stored, texts


async def unindexed_rows(folder: Path) -> int:
    table = await (await lancedb.connect_async(folder)).open_table(table_name(SPACE))
    statistics = await table.index_stats("search_text_idx")
    assert statistics is not None
    return statistics.num_unindexed_rows


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
