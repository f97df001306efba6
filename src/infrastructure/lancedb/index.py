"""`PassageIndex` on LanceDB, which is imported at the first use: it takes two seconds and 130 MiB."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from llm_backend.application.ports.embedder import Vector
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.domain.errors import IndexUnavailable, StorageFull
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, StoredChunk
from llm_backend.domain.ranking import Candidate


class LanceDbPassageIndex:
    """One table for each embedding space, in a folder or an object store (`s3://bucket/prefix`).

    A folder is made at the first use, for its owner alone: the passages are in it, word for word.

    Full-text scores weigh words by how rare they are in the whole table, other people's passages included. Vectors
    are compared one by one, without an approximate index: 5,000 of 1024 dimensions take 20 ms.
    """

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        """Touches nothing yet."""
        self._uri = uri
        self._storage_options = storage_options or {}
        self._opening = asyncio.Lock()
        self._opened: _Database | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Waits for what is being optimized."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    async def add(self, space: EmbeddingSpace, chunks: Sequence[StoredChunk]) -> None:
        async with self._database() as database:
            await database.add(space, chunks)

    async def search(
        self, space: EmbeddingSpace, knowledge_base: KnowledgeBaseId, *, text: str, vector: Vector | None, limit: int
    ) -> Sequence[Candidate]:
        async with self._database() as database:
            return await database.search(space, knowledge_base, text=text, vector=vector, limit=limit)

    async def remove(
        self, space: EmbeddingSpace, documents: Sequence[DocumentId], *, attempt: int | None = None
    ) -> None:
        async with self._database() as database:
            await database.remove(space, documents, attempt=attempt)

    async def clear(self) -> None:
        async with self._database() as database:
            await database.clear()

    async def optimize(self) -> None:
        if self._opened is None:
            return  # nothing is new here, and there is no reason to load the library
        async with self._database() as database:
            await database.optimize()

    async def check(self) -> None:
        """Raises `IndexUnavailable` when it could not be used. Before the first use only the folder is looked at."""
        if (folder := _folder(self._uri)) and not await asyncio.to_thread(_is_usable, folder):
            raise IndexUnavailable
        if self._opened is not None:
            async with self._database() as database:
                await database.check()

    @asynccontextmanager
    async def _database(self) -> AsyncIterator["_Database"]:
        try:
            yield await self._open()
        except (ValueError, OSError, RuntimeError) as error:  # LanceDB has no exceptions of its own
            if self._opened is not None:
                await self._opened.forget_tables()
            raise _translated(error) from error

    async def _open(self) -> "_Database":
        async with self._opening:
            if self._opened is None:
                module = await asyncio.to_thread(import_module, "llm_backend.infrastructure.lancedb.database")
                if folder := _folder(self._uri):
                    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
                opened: _Database = await module.Database.connect(self._uri, self._storage_options)
                self._opened = opened
            return self._opened


class _Database(PassageIndex, Protocol):
    """What `database.Database` is, said without importing it."""

    async def check(self) -> None: ...

    async def forget_tables(self) -> None: ...

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
