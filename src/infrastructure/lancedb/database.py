"""All tables of one LanceDB database. Imports LanceDB; `index` is what others import."""

import asyncio
import hashlib
import logging
import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

# Before the import. It warns of clusters that are empty, as some are; and it reads ahead up to 2 GiB by itself. With
# 32 MiB, which are enough for whoever only writes, a small search takes 56 ms of time in place of 9.
os.environ.setdefault("LANCEDB_LOG", "error")
os.environ.setdefault("LANCE_DEFAULT_IO_BUFFER_SIZE", str(256 * 1024 * 1024))

import lancedb
from lancedb import AsyncConnection

from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, StoredChunk
from llm_backend.domain.ranking import Candidate
from llm_backend.infrastructure.lancedb.batches import Batches
from llm_backend.infrastructure.lancedb.conflicts import ERRORS, is_missing
from llm_backend.infrastructure.lancedb.table import PassageTable
from llm_backend.infrastructure.lancedb.tidying import Tidying

PREFIX = "passages-"
# Rows that are not indexed yet are found all the same, but one by one: 5,000 of them cost a search 300 ms.
UNINDEXED_ROWS = 1000
# In large tables, where another process is started for it, more is left for one time: one row in so many.
UNINDEXED_SHARE = 50
UNINDEXED_WRITES_APART = 256
UNINDEXED_WRITES = 128
# Sixteen clients that upload pages of text put some of them into a write then; without, one.
PAUSE_BETWEEN_WRITES = 0.05  # seconds
# Every write makes a new version, and LanceDB keeps what it has read of each until its caches are full: by itself, at
# 6 GiB and 1 GiB. So a server that is written to would grow by some 100 MiB in a thousand uploads.
INDEX_CACHE = 256 * 1024 * 1024
METADATA_CACHE = 16 * 1024 * 1024

logger = logging.getLogger(__name__)


async def connect(uri: str, storage_options: Mapping[str, str]) -> AsyncConnection:
    """Without the consistency interval a handle would not see what other processes have written."""
    return await lancedb.connect_async(
        uri,
        storage_options=dict(storage_options) or None,
        read_consistency_interval=timedelta(0),
        session=lancedb.Session(INDEX_CACHE, METADATA_CACHE),
    )


class Database:
    """One table for each embedding space, with rows of all knowledge bases. Lets the errors of LanceDB through.

    Other processes may write, compact and clear the same tables at the same time.
    """

    def __init__(
        self, connection: AsyncConnection, kept_versions: timedelta, tidying: Tidying, tidied_apart: int
    ) -> None:
        self._connection = connection
        self._kept_versions = kept_versions
        self._tidying = tidying
        self._tidied_apart = tidied_apart
        self._opening = asyncio.Lock()
        self._tables: dict[str, _OpenTable] = {}  # by name
        self._forgotten: list[_OpenTable] = []

    @classmethod
    async def connect(
        cls, uri: str, storage_options: Mapping[str, str], kept_versions: timedelta, tidied_apart: int
    ) -> "Database":
        """Tables of `tidied_apart` passages and more are put in order by a process of its own."""
        tidying = Tidying(uri, storage_options, kept_versions)
        return cls(await connect(uri, storage_options), kept_versions, tidying, tidied_apart)

    async def add(self, space: EmbeddingSpace, chunks: Sequence[StoredChunk], *, new: bool = False) -> None:
        async with self._opening:
            table = await self._find(table_name(space)) or await self._make(space)
        await table.add(chunks, new=new)

    async def search(
        self,
        space: EmbeddingSpace,
        knowledge_base: KnowledgeBaseId,
        *,
        text: str,
        vector: bytes | None,
        limit: int,
        documents: Collection[DocumentId] | None = None,
    ) -> Sequence[Candidate]:
        if (table := await self._table(table_name(space))) is None:
            return []
        return await table.table.search(knowledge_base, text=text, vector=vector, limit=limit, documents=documents)

    async def remove(
        self, space: EmbeddingSpace, documents: Sequence[DocumentId], *, attempt: int | None = None
    ) -> None:
        if table := await self._table(table_name(space)):
            await table.table.remove(documents, attempt)

    async def clear(self) -> None:
        """Other programs' tables stay."""
        for name in await self._table_names():
            try:
                if table := await self._table(name):
                    await table.table.clear()
            except ERRORS as error:
                await self._throw_away(name, error)

    async def size(self, space: EmbeddingSpace, knowledge_base: KnowledgeBaseId | None = None) -> int:
        table = await self._table(table_name(space))
        return await table.table.size(knowledge_base) if table else 0

    async def holdings(self, space: EmbeddingSpace) -> Mapping[tuple[DocumentId, int], int]:
        """A table with parts missing is thrown away, and holds nothing."""
        name = table_name(space)
        try:
            table = await self._table(name)
            return await table.table.holdings() if table else {}
        except ERRORS as error:
            await self._throw_away(name, error)
            return {}

    async def optimize(self, *, patience: timedelta | None = None) -> None:
        until = None if patience is None else time.monotonic() + patience.total_seconds()
        for name in await self._table_names():
            if table := await self._table(name):
                await table.optimize(until)

    async def check(self) -> None:
        """Ask for something small."""
        await self._connection.list_tables(limit=1)

    def forget_tables(self) -> None:
        """Open them again at the next use: another process may have dropped them, or somebody taken them away."""
        self._forgotten = [table for table in (*self._forgotten, *self._tables.values()) if table.is_busy]
        self._tables = {}

    async def close(self) -> None:
        """Waits for what is being optimized here, and stops it elsewhere."""
        self._tidying.stop()
        self.forget_tables()
        for table in self._forgotten:
            await table.close()
        self._connection.close()  # type: ignore[no-untyped-call]

    async def _throw_away(self, name: str, error: Exception) -> None:
        """Raises the error again if it says anything else than that parts of the table are gone."""
        if not is_missing(error):
            raise error
        logger.warning("A table of the search index is damaged and is thrown away: %s", name)
        self.forget_tables()
        await self._connection.drop_table(name, ignore_missing=True)

    async def _table(self, name: str) -> "_OpenTable | None":
        """None when it is not there."""
        async with self._opening:
            return await self._find(name)

    async def _find(self, name: str) -> "_OpenTable | None":
        if name not in self._tables:
            found = await PassageTable.find(self._connection, name, self._kept_versions)
            if found is None:
                return None
            self._tables[name] = self._opened(name, found)
        return self._tables[name]

    async def _make(self, space: EmbeddingSpace) -> "_OpenTable":
        name = table_name(space)
        made = await PassageTable.make(self._connection, name, space.dimensions, self._kept_versions)
        self._tables[name] = self._opened(name, made)
        return self._tables[name]

    def _opened(self, name: str, table: PassageTable) -> "_OpenTable":
        opened = _OpenTable(name, table, self._tidying, self._tidied_apart)
        for forgotten in self._forgotten:
            if forgotten.name == name and forgotten.is_busy:
                opened.optimizing = forgotten.optimizing  # nothing begins beside it
        return opened

    async def _table_names(self) -> list[str]:
        names: list[str] = []
        page = await self._connection.list_tables(limit=100)
        names += page.tables
        while page.page_token:
            page = await self._connection.list_tables(page_token=page.page_token, limit=100)
            names += page.tables
        return [name for name in names if name.startswith(PREFIX)]


class _Write(NamedTuple):
    chunks: Sequence[StoredChunk]
    new: bool  # nothing of them is there yet


class _OpenTable:
    """A table with what is written to it, and the task that now and then puts it in order."""

    def __init__(self, name: str, table: PassageTable, tidying: Tidying, tidied_apart: int) -> None:
        self.name = name
        self.table = table
        self._tidying = tidying
        self._tidied_apart = tidied_apart
        self._batches = Batches(self._write, pause=PAUSE_BETWEEN_WRITES)
        self._rows = 0
        self._writes = 0
        self._most_rows = UNINDEXED_ROWS
        self._most_writes = UNINDEXED_WRITES
        self.optimizing: asyncio.Task[Exception | None] | None = None
        """What puts it in order at the moment."""

    @property
    def is_busy(self) -> bool:
        return self.optimizing is not None and not self.optimizing.done()

    async def add(self, chunks: Sequence[StoredChunk], *, new: bool) -> None:
        if chunks:
            await self._batches.add([_Write(chunks, new)])

    async def close(self) -> None:
        if self.optimizing is not None:
            await self.optimizing

    async def _write(self, writes: Sequence["_Write"]) -> None:
        for new in (False, True):  # what is new must not be looked for because something else is not
            if chunks := [chunk for write in writes if write.new is new for chunk in write.chunks]:
                await self.table.add(chunks, new=new)
                self._rows += len(chunks)
        self._writes += 1
        if not self.is_busy and (self._rows >= self._most_rows or self._writes >= self._most_writes):
            self.optimizing = asyncio.create_task(self._optimize())

    async def optimize(self, until: float | None) -> None:
        """Not behind what is being done already, and not later than `until` (on the monotonic clock), if that is given.
        Raises what went wrong by then."""
        if until is None:
            await self._put_in_order()
            return
        if self.optimizing is None or self.optimizing.done():
            self.optimizing = asyncio.create_task(self._optimize())
        running = self.optimizing
        await asyncio.wait([running], timeout=max(until - time.monotonic(), 0))
        if running.done() and (error := running.result()):
            raise error

    async def _put_in_order(self) -> None:
        self._rows = self._writes = 0
        size = await self.table.size(None)
        apart = size >= self._tidied_apart
        self._most_rows = max(UNINDEXED_ROWS, size // UNINDEXED_SHARE)
        self._most_writes = UNINDEXED_WRITES_APART if apart else UNINDEXED_WRITES
        await self.table.optimize(self._tidying if apart else None)

    async def _optimize(self) -> Exception | None:
        try:
            await self._put_in_order()
        except Exception as error:  # it is tried again later, and nothing depends on it
            logger.warning("The search index could not be optimized", exc_info=True)
            return error
        return None


def table_name(space: EmbeddingSpace) -> str:
    """Readable, and different for different spaces whatever characters the model's name has."""
    readable = re.sub(r"[^a-z0-9]+", "-", space.model.lower()).strip("-")[:40]
    digest = hashlib.sha256(f"{space.model}\n{space.dimensions}".encode()).hexdigest()[:8]
    return f"{PREFIX}{readable}-{space.dimensions}-{digest}"
