"""`PassageIndex` on LanceDB, which is imported at the first use: it takes two seconds and 130 MiB."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Protocol, Self, TypeVar

from llm_backend.application.ports.embedder import Vector
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.domain.errors import IndexUnavailable, StorageFull, Unavailable
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, StoredChunk
from llm_backend.domain.ranking import Candidate
from llm_backend.infrastructure.lancedb.conflicts import ERRORS, is_missing

Result = TypeVar("Result")
_DATABASE = "llm_backend.infrastructure.lancedb.database"
SHORT_PATIENCE = timedelta(seconds=10)
LONG_PATIENCE = timedelta(seconds=30)  # for whoever waits for a write; what was begun may end later
KEPT_VERSIONS = timedelta(hours=1)
# Each keeps a core busy for 30 to 50 ms. Twenty at once on a machine with much else to do took ten seconds each, and
# failed all together; one after the other, none does, and the last comes no later.
SEARCHES_AT_ONCE = max(2, os.cpu_count() or 1)
# Passages. Below it is all done within a second or two; searches take up to 57 ms meanwhile, in place of 23. A process
# of its own gets no time on a single core that is never without a search, each of which then takes 70. With 10,000 it
# would cost another 90 MiB.
TIDIED_APART = 6_000


class LanceDbPassageIndex:
    """One table for each embedding space, in a folder or an object store (`s3://bucket/prefix`).

    As many processes as one likes may use the same place at the same time: each sees at once what another one has
    written. Versions that were replaced longer than `kept_versions` ago are deleted when the index is optimized:
    a search must not take longer than that.

    A folder is made at the first use, for its owner alone: the passages are in it, word for word.

    Full-text scores weigh words by how rare they are in the whole table, other people's passages included. Vectors
    of up to 2,000 passages are compared one by one; in tables of 4,000 and more, an approximate index finds candidates
    among more than that, and their cosines are exact all the same.
    """

    def __init__(
        self,
        uri: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        kept_versions: timedelta = KEPT_VERSIONS,
        patience: timedelta | None = None,
        tidied_apart: int = TIDIED_APART,
    ) -> None:
        """Touches nothing yet. `patience` is how long any call may take, instead of what each is given. Tables of
        `tidied_apart` passages and more are compacted and indexed by a process of its own."""
        self._uri = uri
        self._storage_options = storage_options or {}
        self._kept_versions = kept_versions
        self._short = patience or SHORT_PATIENCE
        self._long = patience or LONG_PATIENCE
        self._tidied_apart = tidied_apart
        self._searching = asyncio.Semaphore(SEARCHES_AT_ONCE)
        self._opening = asyncio.Lock()
        self._opened: _Database | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Waits for what is being optimized, unless another process does it: that is stopped."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    async def add(self, space: EmbeddingSpace, chunks: Sequence[StoredChunk], *, new: bool = False) -> None:
        await self._call(lambda database: database.add(space, chunks, new=new), within=self._long)

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
        async with self._turn():
            return await self._call(
                lambda database: database.search(
                    space, knowledge_base, text=text, vector=vector, limit=limit, documents=documents
                ),
                within=self._short,
            )

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Raises `Unavailable` for whoever waits too long: that is no fault of the index."""
        try:
            async with asyncio.timeout(self._long.total_seconds()):
                await self._searching.acquire()
        except TimeoutError as error:
            raise Unavailable("The search index is busy, try again in a moment") from error
        try:
            yield
        finally:
            self._searching.release()

    async def remove(
        self, space: EmbeddingSpace, documents: Sequence[DocumentId], *, attempt: int | None = None
    ) -> None:
        await self._call(lambda database: database.remove(space, documents, attempt=attempt), within=self._short)

    async def clear(self) -> None:
        await self._call(lambda database: database.clear())

    async def size(self, space: EmbeddingSpace, knowledge_base: KnowledgeBaseId | None = None) -> int:
        return await self._call(lambda database: database.size(space, knowledge_base), within=self._short)

    async def holdings(self, space: EmbeddingSpace) -> Mapping[tuple[DocumentId, int], int]:
        return await self._call(lambda database: database.holdings(space))

    async def optimize(self, *, patience: timedelta | None = None) -> None:
        if self._opened is None:
            return  # nothing is new here, and there is no reason to load the library
        await self._call(lambda database: database.optimize(patience=patience))

    async def check(self) -> None:
        """Raises `IndexUnavailable` when it could not be used. Before the first use only the folder is looked at."""
        if (folder := _folder(self._uri)) and not await asyncio.to_thread(_is_usable, folder):
            raise IndexUnavailable
        if self._opened is not None:
            await self._call(lambda database: database.check(), within=self._short)

    async def _call(
        self, work: Callable[["_Database"], Awaitable[Result]], *, within: timedelta | None = None
    ) -> Result:
        """Without a limit it is only the object store's requests that are limited, each on its own."""
        # A busy machine may take longer over this than a search may take: that is no failure of the index.
        if self._opened is None:
            await asyncio.to_thread(import_module, _DATABASE)
        try:
            async with asyncio.timeout(within.total_seconds() if within else None):
                return await self._once_more_if_gone(work)
        except ERRORS as error:
            if self._opened is not None:
                self._opened.forget_tables()
            raise _translated(error) from error

    async def _once_more_if_gone(self, work: Callable[["_Database"], Awaitable[Result]]) -> Result:
        """A table that another process has made anew is found by opening it again."""
        try:
            return await work(await self._open())
        except ERRORS as error:
            if self._opened is None or not is_missing(error):
                raise
            self._opened.forget_tables()
            return await work(self._opened)

    async def _open(self) -> "_Database":
        async with self._opening:
            if self._opened is None:
                module = import_module(_DATABASE)
                if folder := _folder(self._uri):
                    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
                self._opened = await self._connected(module)
            return self._opened

    async def _connected(self, module: ModuleType) -> "_Database":
        apart = sys.maxsize if self._uri.startswith("memory://") else self._tidied_apart
        opened: _Database = await module.Database.connect(
            self._uri, self._storage_options, self._kept_versions, tidied_apart=apart
        )
        return opened


class _Database(PassageIndex, Protocol):
    """What `database.Database` is, said without importing it."""

    async def check(self) -> None: ...

    def forget_tables(self) -> None: ...

    async def close(self) -> None: ...


def _folder(uri: str) -> Path | None:
    """Nothing for an object store."""
    return None if "://" in uri else Path(uri)


def _is_usable(folder: Path) -> bool:
    """Whether one can write there, or where it would be made."""
    there = next(one for one in (folder, *folder.absolute().parents) if os.access(one, os.F_OK))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _translated(error: Exception) -> IndexUnavailable | StorageFull:
    full = "No space left on device" in str(error) or "Quota exceeded" in str(error)
    return StorageFull() if full else IndexUnavailable()
