"""A knowledge base changes its embedding model on real stores, while many search, upload and delete."""

import asyncio
import random
import zlib
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import hypot
from pathlib import Path

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.ports.embedder import Embedded, Vector
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import EmbeddingSpace, Found
from llm_backend.domain.reindexing import ReindexingState
from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders

SOON = 60.0  # seconds
OLD, NEW = "old", "new"
DIMENSIONS = 16  # of both, so that mixing them would be no error
DOCUMENTS, CLIENTS = 40, 20


@dataclass(frozen=True, slots=True)
class DiceEmbedder:
    """Throws dice for each text: always the same ones, and others for each model."""

    name: str
    cosine_weight: float = 0.7
    related_cosine: float = 0.5
    is_lexical: bool = False

    @property
    def space(self) -> EmbeddingSpace:
        return EmbeddingSpace(model=self.name, dimensions=DIMENSIONS)

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        await asyncio.sleep(0.02)
        return Embedded(vectors=[self._vector(text).tobytes() for text in texts])

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:
        return self._vector(text).tobytes()

    def summarise(self, statistics: Sequence[bytes]) -> bytes:
        return b""

    def cosine(self, one: str, other: str) -> float:
        return sum(map(float.__mul__, self._vector(one), self._vector(other)))

    def _vector(self, text: str) -> "array[float]":
        dice = random.Random(zlib.crc32(f"{self.name}\n{text}".encode()))
        thrown = [dice.gauss(0, 1) for _ in range(DIMENSIONS)]
        return array("f", (number / hypot(*thrown) for number in thrown))


EMBEDDERS = [DiceEmbedder(OLD), DiceEmbedder(NEW)]


@dataclass(slots=True)
class Searcher:
    """Somebody who searches until told to stop, and notes which model each result came from."""

    shelf: "Shelf"
    seen: list[str] = field(default_factory=list)  # models, in order, without repetitions
    searches: int = 0
    stopped: bool = False

    async def search(self) -> None:
        while not self.stopped:
            query = f"word {self.searches}"
            model = model_of(query, await self.shelf.found(query))
            if self.seen[-1:] != [model]:
                self.seen.append(model)
            self.searches += 1


def model_of(query: str, found: Found) -> str:
    """The one model by which all cosines of a result come out."""
    assert found.passages
    assert not found.degraded
    (model,) = {
        one.name
        for one in EMBEDDERS
        if all(
            abs(one.cosine(query, passage.chunk.search_text) - passage.parts.cosine) < 1e-4
            for passage in found.passages
        )
    }
    return model


@dataclass(slots=True)
class Shelf:
    """A knowledge base of Ada's."""

    backend: Backend
    folder: Path
    ada: UserId
    id: KnowledgeBaseId

    async def upload(self, name: str) -> DocumentId:
        file = self.folder / name
        file.write_text(f"word of {name}")
        return (await self.backend.upload_document(self.ada, self.id, file, f"{name}.txt")).document.id

    async def found(self, query: str) -> Found:
        return await self.backend.retrieve(self.ada, self.id, query, top_k=100, explain=True)

    async def documents(self) -> set[DocumentId]:
        return {passage.document for passage in (await self.found("word")).passages}

    async def ended(self) -> ReindexingState:
        async with asyncio.timeout(SOON):
            while True:
                state = (await self.backend.check_reindexing(self.ada, self.id)).reindexing.state
                if state is not ReindexingState.RUNNING:
                    return state
                await asyncio.sleep(0.02)


@asynccontextmanager
async def a_shelf(folder: Path) -> AsyncIterator[Shelf]:
    settings = Settings.from_mapping({"data_folder": str(folder / "data"), "jobs": {"first_pause": "10ms"}})
    async with open_backend(settings, embedders=ConfiguredEmbedders(EMBEDDERS, default=OLD)) as backend:
        ada = await backend.register_user("ada", "correct horse")
        yield Shelf(backend, folder, ada, (await backend.create_knowledge_base(ada, "Shelf")).id)


@asynccontextmanager
async def searched(shelf: Shelf) -> AsyncIterator[Sequence[Searcher]]:
    searchers = [Searcher(shelf) for _ in range(CLIENTS)]
    tasks = [asyncio.create_task(searcher.search()) for searcher in searchers]
    try:
        yield searchers
    finally:
        for searcher in searchers:
            searcher.stopped = True
        await asyncio.gather(*tasks)


async def everybody_has_searched(searchers: Sequence[Searcher]) -> None:
    """Twice, so that one of the two began after now."""
    counts = [searcher.searches for searcher in searchers]
    async with asyncio.timeout(SOON):
        while any(one.searches < count + 2 for one, count in zip(searchers, counts, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_nobody_who_searches_notices_and_everything_comes_along(tmp_path: Path) -> None:
    async with a_shelf(tmp_path) as shelf:
        documents = set(await asyncio.gather(*(shelf.upload(str(number)) for number in range(DOCUMENTS))))
        deleted = min(documents)

        async with searched(shelf) as searchers:
            await everybody_has_searched(searchers)
            await shelf.backend.start_reindexing(shelf.ada, shelf.id, NEW)
            added = await shelf.upload("meanwhile")
            await shelf.backend.delete_document(shelf.ada, shelf.id, deleted)
            assert await shelf.ended() is ReindexingState.DONE
            await everybody_has_searched(searchers)
            since = await shelf.upload("since")
            await shelf.backend.roll_back_reindexing(shelf.ada, shelf.id)
            assert await shelf.ended() is ReindexingState.DONE
            await everybody_has_searched(searchers)

        assert [searcher.seen for searcher in searchers] == [[OLD, NEW, OLD]] * CLIENTS
        assert await shelf.documents() == (documents - {deleted}) | {added, since}


async def test_one_that_is_cancelled_is_noticed_by_nobody(tmp_path: Path) -> None:
    async with a_shelf(tmp_path) as shelf:
        documents = {await shelf.upload(str(number)) for number in range(3)}

        await shelf.backend.start_reindexing(shelf.ada, shelf.id, NEW)
        cancelled = await shelf.backend.cancel_reindexing(shelf.ada, shelf.id)
        await shelf.backend.start_reindexing(shelf.ada, shelf.id, NEW)
        ended = await shelf.ended()

        assert cancelled.reindexing.state is ReindexingState.CANCELLED
        assert ended is ReindexingState.DONE
        assert await shelf.documents() == documents
