"""All tables of one LanceDB database. Imports LanceDB; `index` is what others import."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

import lancedb
from lancedb import AsyncConnection

from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, StoredChunk
from llm_backend.domain.ranking import Candidate
from llm_backend.infrastructure.lancedb.batches import Batches
from llm_backend.infrastructure.lancedb.table import PassageTable

PREFIX = "passages-"
# Rows that are not indexed yet are found all the same, but one by one: 5,000 of them cost a search 300 ms.
UNINDEXED_ROWS = 1000
UNINDEXED_WRITES = 128

logger = logging.getLogger(__name__)


class Database:
    """One table for each embedding space, with rows of all knowledge bases. Lets the errors of LanceDB through."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._opening = asyncio.Lock()
        self._tables: dict[str, _OpenTable] = {}  # by name

    @classmethod
    async def connect(cls, uri: str, storage_options: Mapping[str, str]) -> "Database":
        """Without the consistency interval a handle would not see what other processes have written."""
        options = dict(storage_options) or None
        return cls(await lancedb.connect_async(uri, storage_options=options, read_consistency_interval=timedelta(0)))

    async def add(self, space: EmbeddingSpace, chunks: Sequence[StoredChunk]) -> None:
        await (await self._table(space)).add(chunks)

    async def search(
        self, space: EmbeddingSpace, knowledge_base: KnowledgeBaseId, *, text: str, vector: bytes | None, limit: int
    ) -> Sequence[Candidate]:
        table = (await self._table(space)).table
        return await table.search(knowledge_base, text=text, vector=vector, limit=limit)

    async def remove(
        self, space: EmbeddingSpace, documents: Sequence[DocumentId], *, attempt: int | None = None
    ) -> None:
        await (await self._table(space)).table.remove(documents, attempt)

    async def clear(self) -> None:
        """Other programs' tables stay."""
        await self.forget_tables()
        for name in await self._table_names():
            await self._connection.drop_table(name, ignore_missing=True)

    async def optimize(self) -> None:
        for name in await self._table_names():
            await (await self._open(name, None)).table.optimize()

    async def check(self) -> None:
        """Ask for something small."""
        await self._connection.list_tables(limit=1)

    async def forget_tables(self) -> None:
        """Open them again at the next use: another process may have dropped them."""
        tables, self._tables = list(self._tables.values()), {}
        for table in tables:
            await table.close()

    async def close(self) -> None:
        await self.forget_tables()
        self._connection.close()  # type: ignore[no-untyped-call]

    async def _table(self, space: EmbeddingSpace) -> "_OpenTable":
        return await self._open(table_name(space), space.dimensions)

    async def _open(self, name: str, dimensions: int | None) -> "_OpenTable":
        """Without dimensions, a table that is there."""
        async with self._opening:
            if name not in self._tables:
                self._tables[name] = _OpenTable(await PassageTable.open(self._connection, name, dimensions))
            return self._tables[name]

    async def _table_names(self) -> list[str]:
        names: list[str] = []
        page = await self._connection.list_tables(limit=100)
        names += page.tables
        while page.page_token:
            page = await self._connection.list_tables(page_token=page.page_token, limit=100)
            names += page.tables
        return [name for name in names if name.startswith(PREFIX)]


class _OpenTable:
    """A table with what is written to it, and the task that now and then puts it in order."""

    def __init__(self, table: PassageTable) -> None:
        self.table = table
        self._batches = Batches(self._write)
        self._rows = 0
        self._writes = 0
        self._optimizing: asyncio.Task[None] | None = None

    async def add(self, chunks: Sequence[StoredChunk]) -> None:
        if chunks:
            await self._batches.add(chunks)

    async def close(self) -> None:
        if self._optimizing is not None:
            await self._optimizing

    async def _write(self, chunks: Sequence[StoredChunk]) -> None:
        await self.table.add(chunks)
        self._rows += len(chunks)
        self._writes += 1
        idle = self._optimizing is None or self._optimizing.done()
        if idle and (self._rows >= UNINDEXED_ROWS or self._writes >= UNINDEXED_WRITES):
            self._rows = self._writes = 0
            self._optimizing = asyncio.create_task(self._optimize())

    async def _optimize(self) -> None:
        try:
            await self.table.optimize()
        except Exception:  # it is tried again later, and nothing depends on it
            logger.warning("The search index could not be optimized", exc_info=True)


def table_name(space: EmbeddingSpace) -> str:
    """Readable, and different for different spaces whatever characters the model's name has."""
    readable = re.sub(r"[^a-z0-9]+", "-", space.model.lower()).strip("-")[:40]
    digest = hashlib.sha256(f"{space.model}\n{space.dimensions}".encode()).hexdigest()[:8]
    return f"{PREFIX}{readable}-{space.dimensions}-{digest}"
