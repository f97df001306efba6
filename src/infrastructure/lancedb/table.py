"""One LanceDB table: the passages of one embedding space, of all knowledge bases."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
from lancedb import AsyncConnection, AsyncTable
from lancedb.expr import Expr, col, lit
from lancedb.index import FTS, Bitmap, BTree
from numpy.typing import NDArray

from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import ScoreParts, StoredChunk
from llm_backend.domain.ranking import Candidate
from llm_backend.infrastructure.lancedb.conflicts import despite_conflicts, is_missing, suppress_conflicts
from llm_backend.infrastructure.lancedb.rows import COLUMNS, KEY, direction, from_row, schema, to_table
from llm_backend.infrastructure.lancedb.vectors import VectorIndex

# `icu` finds words in Chinese and Japanese too, and needs no files. English stop words stay: without them "to be or
# not to be" could not be found, and the measured collections lose 0.002 to 0.004 nDCG@10.
INDEXES: dict[str, FTS | Bitmap | BTree] = {
    "search_text": FTS(base_tokenizer="icu", remove_stop_words=False),
    "kb_id": Bitmap(),
    "document": BTree(),
    KEY: BTree(),
}
Item = TypeVar("Item")

NAMED_AT_ONCE = 500  # documents in one condition
WRITTEN_AT_ONCE = 4000  # rows


class PassageTable:
    """Adds, finds and removes the rows of one table. Lets the errors of LanceDB through."""

    def __init__(self, table: AsyncTable, dimensions: int, kept_versions: timedelta) -> None:
        self._table = table
        self._dimensions = dimensions
        self._kept_versions = kept_versions
        self._optimizing = asyncio.Lock()  # two at once on the same table fail with a conflict
        self._optimized_version = -1
        self._vector_index = VectorIndex(table)

    @classmethod
    async def find(cls, connection: AsyncConnection, name: str, kept_versions: timedelta) -> "PassageTable | None":
        """None when there is none. One of an older form is thrown away: it can be filled again from the database."""
        try:
            table = await connection.open_table(name)
        except ValueError as error:
            if is_missing(error):
                return None
            raise
        columns = await table.schema()
        if not {KEY, *COLUMNS} <= set(columns.names):
            await connection.drop_table(name, ignore_missing=True)
            return None
        await _make_indexes(table)
        found = cls(table, int(columns.field("vector").type.list_size), kept_versions)
        await found._vector_index.look()
        return found

    @classmethod
    async def make(
        cls, connection: AsyncConnection, name: str, dimensions: int, kept_versions: timedelta
    ) -> "PassageTable":
        """The one that is there, when another process was faster."""
        empty = schema(dimensions)
        await despite_conflicts(partial(connection.create_table, name, schema=empty, exist_ok=True))
        found = await cls.find(connection, name, kept_versions)
        return found or await cls.make(connection, name, dimensions, kept_versions)

    async def add(self, chunks: Sequence[StoredChunk], *, new: bool = False) -> None:
        """Replaces what is there of the same attempts at the same positions.

        In parts: the vectors of a large document take hundreds of megabytes, and are copied three times on the way.
        What is `new` is appended, at 4 to 8 ms of CPU a write. To look for the keys of six rows costs 15 ms, and 40
        when 500 rows have come since the last compaction: they are in no index of keys, and read one by one.
        """
        latest = list({(one.document, one.attempt, one.chunk.position): one for one in chunks}.values())
        for some in _slices(latest, WRITTEN_AT_ONCE):
            rows = await asyncio.to_thread(to_table, some, self._dimensions)
            await (self._append(rows) if new else self._put(rows))

    async def _append(self, rows: pa.Table) -> None:
        await despite_conflicts(partial(self._table.add, rows))

    async def _put(self, rows: pa.Table) -> None:
        upsert = self._table.merge_insert(KEY).when_matched_update_all().when_not_matched_insert_all()
        # A vector that is missing is "bad" to it; of others there are none.
        await despite_conflicts(partial(upsert.execute, rows, on_bad_vectors="null"))

    async def remove(self, documents: Sequence[DocumentId], attempt: int | None) -> None:
        for some in _slices(documents, NAMED_AT_ONCE):
            theirs = _is_in("document", some)
            wanted = theirs if attempt is None else theirs & (col("attempt") == lit(attempt))
            await self._delete(wanted.to_sql())

    async def clear(self) -> None:
        """Not by dropping the table: what another process is writing would bring back a torn one."""
        await self._delete("true")

    async def _delete(self, condition: str) -> None:
        await despite_conflicts(lambda: self._table.delete(condition))

    async def size(self, knowledge_base: KnowledgeBaseId | None) -> int:
        """How many rows there are, in all or in one knowledge base."""
        condition = None if knowledge_base is None else (col("kb_id") == lit(knowledge_base)).to_sql()
        return await self._table.count_rows(condition)

    async def holdings(self) -> dict[tuple[DocumentId, int], int]:
        """How many passages there are of each attempt at each document. Of a row that is there twice, as when two
        processes wrote it in one moment, one counts: it must not stand for another that is missing."""
        # Parts that are gone are noticed where they are read: those of the rows below, those of the indexes here.
        await self.search(KnowledgeBaseId(""), text="a", vector=None, limit=1)
        keys = await self._table.query().select(["document", "attempt", KEY]).to_arrow()
        return await asyncio.to_thread(_counted, keys)

    async def search(
        self,
        knowledge_base: KnowledgeBaseId,
        *,
        text: str,
        vector: bytes | None,
        limit: int,
        documents: Collection[DocumentId] | None = None,
    ) -> list[Candidate]:
        """The filter goes before the search, so that other knowledge bases take no places. How rare a word is, is
        counted over the whole table: that only bends the scores of all candidates in the same way."""
        mine = col("kb_id") == lit(knowledge_base)
        if documents is not None:
            mine &= _is_in("document", documents)
        asked = direction(vector)
        by_text, by_vector = await asyncio.gather(self._by_text(mine, text, limit), self._by_vector(mine, asked, limit))
        return _candidates(by_text, _cosines(by_text, asked), by_vector)

    async def optimize(self, elsewhere: Callable[[str], Awaitable[None]] | None = None) -> None:
        """Compact, index what is new, and drop versions that nobody reads any more; or have it done `elsewhere`.

        When others write without a pause, or do the same, it is left to them or to the next time.
        """
        async with self._optimizing:
            if await self._table.version() == self._optimized_version:
                return
            with suppress_conflicts():
                if elsewhere is None:
                    await despite_conflicts(lambda: self._table.optimize(cleanup_older_than=self._kept_versions))
                    await self._vector_index.keep_up()
                else:
                    await elsewhere(self._table.name)
                    await self._vector_index.look()
                await self._note_if_in_order()

    async def _note_if_in_order(self) -> None:
        """What others have written in the meantime is left for the next time, which must not think that all is done."""
        version = await self._table.version()
        if all(index.num_unindexed_rows == 0 for index in await self._table.list_indices()):
            self._optimized_version = version

    async def _by_text(self, mine: Expr, text: str, limit: int) -> pa.Table:
        query = self._table.query().nearest_to_text(text, columns=["search_text"]).where(mine)
        return await query.select([*COLUMNS, "vector", "_score"]).limit(limit).to_arrow()

    async def _by_vector(self, mine: Expr, asked: NDArray[np.float32] | None, limit: int) -> pa.Table | None:
        if asked is None:
            return None
        query = self._table.query().nearest_to(asked).distance_type("dot").where(mine)
        if self._vector_index.is_there:
            query = self._vector_index.narrowed(query, await self._table.count_rows(mine.to_sql()))
        else:
            query = query.bypass_vector_index()  # that another process may have made since, and that is then not asked
        return await query.select([*COLUMNS, "_distance"]).limit(limit).to_arrow()


def _counted(keys: pa.Table) -> dict[tuple[DocumentId, int], int]:
    counted = keys.group_by(["document", "attempt"]).aggregate([(KEY, "count_distinct")])
    return {(DocumentId(row["document"]), row["attempt"]): row[f"{KEY}_count_distinct"] for row in counted.to_pylist()}


def _is_in(column: str, values: Iterable[str]) -> Expr:
    return col(column).isin([lit(value) for value in values])


def _slices(every: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    return (every[first : first + most] for first in range(0, len(every), most))


async def _make_indexes(table: AsyncTable) -> None:
    for column, config in INDEXES.items():
        await despite_conflicts(partial(_make_index, table, column, config))


async def _make_index(table: AsyncTable, column: str, config: FTS | Bitmap | BTree) -> None:
    """Looks every time: another process may have made it a moment ago."""
    if column not in {column for index in await table.list_indices() for column in index.columns}:
        await table.create_index(column, config=config)


def _cosines(found: pa.Table, asked: NDArray[np.float32] | None) -> list[float]:
    """Vectors have length 1, so their product is the cosine."""
    vectors = found["vector"].to_numpy() if asked is not None else [None] * found.num_rows
    return [0.0 if vector is None or asked is None else float(np.dot(vector, asked)) for vector in vectors]


def _candidates(by_text: pa.Table, cosines: Sequence[float], by_vector: pa.Table | None) -> list[Candidate]:
    """Each passage once, in its best places, though a row be there twice."""
    vector_rows = by_vector.to_pylist() if by_vector is not None else []
    vector_ranks: dict[tuple[DocumentId, int, int], int] = {}
    for rank, stored in enumerate(map(from_row, vector_rows), start=1):
        vector_ranks.setdefault(_key(stored), rank)
    found: dict[tuple[DocumentId, int, int], Candidate] = {}
    for rank, (row, cosine) in enumerate(
        zip(by_text.drop_columns("vector").to_pylist(), cosines, strict=True), start=1
    ):
        stored = from_row(row)
        parts = ScoreParts(
            bm25=row["_score"], cosine=cosine, text_rank=rank, vector_rank=vector_ranks.get(_key(stored))
        )
        found.setdefault(_key(stored), Candidate(stored=stored, parts=parts))
    for rank, row in enumerate(vector_rows, start=1):
        stored = from_row(row)
        parts = ScoreParts(cosine=1.0 - row["_distance"], vector_rank=rank)
        found.setdefault(_key(stored), Candidate(stored=stored, parts=parts))
    return list(found.values())


def _key(stored: StoredChunk) -> tuple[DocumentId, int, int]:
    return stored.document, stored.attempt, stored.chunk.position
