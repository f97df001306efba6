"""One LanceDB table: the passages of one embedding space, of all knowledge bases."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
from lancedb import AsyncConnection, AsyncTable
from lancedb.expr import Expr, col, lit
from lancedb.index import FTS, Bitmap, BTree
from numpy.typing import NDArray

from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import ScoreParts, StoredChunk
from llm_backend.domain.ranking import Candidate
from llm_backend.infrastructure.lancedb.rows import COLUMNS, direction, from_row, schema, to_table

# `icu` finds words in Chinese and Japanese too, and needs no files. English stop words stay: without them "to be or
# not to be" could not be found, and the measured collections lose 0.002 to 0.004 nDCG@10.
INDEXES: dict[str, FTS | Bitmap | BTree] = {
    "search_text": FTS(base_tokenizer="icu", remove_stop_words=False),
    "kb_id": Bitmap(),
    "document": BTree(),
}
NAMED_AT_ONCE = 500  # documents in one condition
KEPT_VERSIONS = timedelta(minutes=10)  # searches that began on an older version must be able to end


class PassageTable:
    """Adds, finds and removes the rows of one table. Lets the errors of LanceDB through."""

    def __init__(self, table: AsyncTable, dimensions: int) -> None:
        self._table = table
        self._dimensions = dimensions
        self._optimizing = asyncio.Lock()  # two at once on the same table fail with a conflict
        self._optimized_version = -1

    @classmethod
    async def open(cls, connection: AsyncConnection, name: str, dimensions: int | None) -> "PassageTable":
        """Make the table, if dimensions are given, and its indexes, if they are not there."""
        if dimensions is None:
            table = await connection.open_table(name)
            dimensions = int((await table.schema()).field("vector").type.list_size)
        else:
            table = await connection.create_table(name, schema=schema(dimensions), exist_ok=True)
        present = {column for index in await table.list_indices() for column in index.columns}
        for column, config in INDEXES.items():
            if column not in present:
                await table.create_index(column, config=config)
        return cls(table, dimensions)

    async def add(self, chunks: Sequence[StoredChunk]) -> None:
        """Replaces what is there of the same attempts at the same positions."""
        rows = await asyncio.to_thread(to_table, chunks, self._dimensions)
        await self._make_room(chunks)
        await self._table.add(rows)

    async def _make_room(self, chunks: Sequence[StoredChunk]) -> None:
        """A look first, as an upload hardly ever finds something, and a delete is a write of its own."""
        documents = list({stored.document: None for stored in chunks})
        for some in _slices(documents):
            if await self._table.count_rows(_is_in("document", some).to_sql()):
                for replaced in _replaced([stored for stored in chunks if stored.document in some]):
                    await self._table.delete(replaced)

    async def remove(self, documents: Sequence[DocumentId], attempt: int | None) -> None:
        for some in _slices(documents):
            theirs = _is_in("document", some)
            await self._table.delete(theirs if attempt is None else theirs & (col("attempt") == lit(attempt)))

    async def search(
        self, knowledge_base: KnowledgeBaseId, *, text: str, vector: bytes | None, limit: int
    ) -> list[Candidate]:
        """The filter goes before the search, so that other knowledge bases take no places. How rare a word is, is
        counted over the whole table: that only bends the scores of all candidates in the same way."""
        mine = col("kb_id") == lit(knowledge_base)
        asked = direction(vector)
        by_text, by_vector = await asyncio.gather(self._by_text(mine, text, limit), self._by_vector(mine, asked, limit))
        return _candidates(by_text, _cosines(by_text, asked), by_vector)

    async def optimize(self) -> None:
        """Compact, index what is new, and drop versions that nobody reads any more."""
        async with self._optimizing:
            if await self._table.version() == self._optimized_version:
                return
            await self._table.optimize(cleanup_older_than=KEPT_VERSIONS)
            self._optimized_version = await self._table.version()

    async def _by_text(self, mine: Expr, text: str, limit: int) -> pa.Table:
        query = self._table.query().nearest_to_text(text, columns=["search_text"]).where(mine)
        return await query.select([*COLUMNS, "vector", "_score"]).limit(limit).to_arrow()

    async def _by_vector(self, mine: Expr, asked: NDArray[np.float32] | None, limit: int) -> pa.Table | None:
        if asked is None:
            return None
        query = self._table.query().nearest_to(asked).distance_type("dot").where(mine)
        return await query.select([*COLUMNS, "_distance"]).limit(limit).to_arrow()


def _is_in(column: str, values: Sequence[str]) -> Expr:
    return col(column).isin([lit(value) for value in values])


def _slices(documents: Sequence[DocumentId]) -> Iterator[Sequence[DocumentId]]:
    return (documents[first : first + NAMED_AT_ONCE] for first in range(0, len(documents), NAMED_AT_ONCE))


def _replaced(chunks: Sequence[StoredChunk]) -> Iterator[Expr]:
    """Conditions for the rows that are to be replaced: the given positions of each attempt at each document."""
    attempts: dict[tuple[DocumentId, int], list[int]] = {}
    for stored in chunks:
        attempts.setdefault((stored.document, stored.attempt), []).append(stored.chunk.position)
    for (document, attempt), positions in attempts.items():
        within = (col("position") >= lit(min(positions))) & (col("position") <= lit(max(positions)))
        yield (col("document") == lit(document)) & (col("attempt") == lit(attempt)) & within


def _cosines(found: pa.Table, asked: NDArray[np.float32] | None) -> list[float]:
    """Vectors have length 1, so their product is the cosine."""
    vectors = found["vector"].to_numpy() if asked is not None else [None] * found.num_rows
    return [0.0 if vector is None or asked is None else float(np.dot(vector, asked)) for vector in vectors]


def _candidates(by_text: pa.Table, cosines: Sequence[float], by_vector: pa.Table | None) -> list[Candidate]:
    vector_rows = by_vector.to_pylist() if by_vector is not None else []
    vector_ranks = {_key(stored): rank for rank, stored in enumerate(map(from_row, vector_rows), start=1)}
    found = {}
    for rank, (row, cosine) in enumerate(
        zip(by_text.drop_columns("vector").to_pylist(), cosines, strict=True), start=1
    ):
        stored = from_row(row)
        parts = ScoreParts(
            bm25=row["_score"], cosine=cosine, text_rank=rank, vector_rank=vector_ranks.get(_key(stored))
        )
        found[_key(stored)] = Candidate(stored=stored, parts=parts)
    for rank, row in enumerate(vector_rows, start=1):
        stored = from_row(row)
        parts = ScoreParts(cosine=1.0 - row["_distance"], vector_rank=rank)
        found.setdefault(_key(stored), Candidate(stored=stored, parts=parts))
    return list(found.values())


def _key(stored: StoredChunk) -> tuple[DocumentId, int, int]:
    return stored.document, stored.attempt, stored.chunk.position
