"""What a change of the embedding model costs those who search meanwhile: 5,000 passages, 20 who search.

    python -m benchmarks.reindexing [--passages 5000] [--clients 20] [--pause 1]

In one process, on SQLite and LanceDB. The two models have vectors of the same size, so that mixing them would go
unnoticed by all but this: every cosine of every result is computed again, and all of one result must be of one model.
"""

import argparse
import asyncio
import random
import tempfile
import time
import zlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, percentile, table
from llm_backend import Backend, Settings, open_backend
from llm_backend.application.ports.embedder import Embedded, Vector
from llm_backend.domain.errors import DomainError
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import EmbeddingSpace, Found
from llm_backend.domain.reindexing import ReindexingState
from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders

OLD, NEW = "old", "new"
SECTIONS = 50  # of a document; each becomes one passage
DIMENSIONS = 384
SECONDS_A_BATCH = 0.02  # that a model takes to embed 32 texts
WORDS = [
    f"{first}{second}" for first in ("ba", "di", "gu", "lo", "mi", "ra") for second in ("ka", "no", "pe", "su", "ti")
]


@dataclass(frozen=True, slots=True)
class DiceEmbedder:
    """Throws dice for each text: without any sense, but always the same ones, and others for each model."""

    name: str
    dimensions: int = DIMENSIONS
    seconds: float = SECONDS_A_BATCH
    cosine_weight: float = 0.7
    related_cosine: float = 0.5
    is_lexical: bool = False

    @property
    def space(self) -> EmbeddingSpace:
        return EmbeddingSpace(model=self.name, dimensions=self.dimensions)

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        await asyncio.sleep(self.seconds * -(-len(texts) // 32))
        return Embedded(vectors=[self.vector(text) for text in texts])

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:  # noqa: ARG002
        return self.vector(text)

    def summarise(self, statistics: Sequence[bytes]) -> bytes:  # noqa: ARG002
        return b""

    def vector(self, text: str) -> Vector:
        thrown = np.random.default_rng(zlib.crc32(f"{self.name}\n{text}".encode())).normal(size=self.dimensions)
        return (thrown / np.linalg.norm(thrown)).astype("<f4").tobytes()


@dataclass(slots=True)
class Watch:
    """Somebody who searches until told to stop, and says of each result which model it came from."""

    backend: Backend
    owner: UserId
    shelf: KnowledgeBaseId
    embedders: Sequence[DiceEmbedder]
    seen: list[str] = field(default_factory=list)  # models, in order, without repetitions
    taken: list[float] = field(default_factory=list)  # milliseconds
    failures: list[str] = field(default_factory=list)
    mixed: int = 0
    stopped: bool = False
    pause: float = 1.0  # seconds from the end of a search to the next

    async def search(self, chance: random.Random) -> None:
        while not self.stopped:
            query = " ".join(chance.choices(WORDS, k=4))
            began = time.perf_counter()
            try:
                found = await self.backend.retrieve(self.owner, self.shelf, query, top_k=5, explain=True)
            except DomainError as error:
                self.failures.append(error.code)
                await asyncio.sleep(self.pause)
                continue
            self.taken.append(1000 * (time.perf_counter() - began))
            self._judge(query, found)
            await asyncio.sleep(self.pause)

    def _judge(self, query: str, found: Found) -> None:
        fitting = [one.name for one in self.embedders if _fits(one, query, found)]
        if not found.passages or found.degraded:
            self.failures.append("degraded" if found.passages else "nothing found")
        elif len(fitting) != 1:
            self.mixed += 1
        elif self.seen[-1:] != fitting:
            self.seen += fitting


def _fits(embedder: DiceEmbedder, query: str, found: Found) -> bool:
    asked = array("f", embedder.vector(query))
    vectors = [array("f", embedder.vector(passage.chunk.search_text)) for passage in found.passages]
    cosines = [float(np.dot(asked, vector)) for vector in vectors]
    return all(abs(one - passage.parts.cosine) < 1e-4 for one, passage in zip(cosines, found.passages, strict=True))


async def ended(backend: Backend, owner: UserId, shelf: KnowledgeBaseId) -> ReindexingState:
    """Wait for it."""
    while True:
        status = await backend.check_reindexing(owner, shelf)
        if status.reindexing.state is not ReindexingState.RUNNING:
            return status.reindexing.state
        await asyncio.sleep(0.05)


async def measure(folder: Path, *, passages: int, clients: int, pause: float) -> list[Figure]:
    embedders = [DiceEmbedder(OLD), DiceEmbedder(NEW)]
    settings = Settings.from_mapping({"data_folder": str(folder / "data")})
    async with open_backend(settings, embedders=ConfiguredEmbedders(embedders, default=OLD)) as backend:
        owner = await backend.register_user("measured", "correct horse")
        shelf = (await backend.create_knowledge_base(owner, "Measured")).id
        await fill(backend, owner, shelf, folder, passages)
        watches = [Watch(backend, owner, shelf, embedders, pause=pause) for _ in range(clients)]
        searching = [asyncio.create_task(one.search(random.Random(number))) for number, one in enumerate(watches)]
        before = await _searches(watches)
        failed_before = sum(len(one.failures) for one in watches)
        forth = await _timed(backend, owner, shelf, back=False)
        during = await _searches(watches)
        back = await _timed(backend, owner, shelf, back=True)
        await _searches(watches)
        for one in watches:
            one.stopped = True
        await asyncio.gather(*searching)
    assert all(one.seen == [OLD, NEW, OLD] for one in watches), [one.seen for one in watches]
    failures = Counter(code for one in watches for code in one.failures)
    return [
        Figure(name=f"searches meanwhile, by {clients} at once", value=float(len(during)), unit=""),
        Figure(
            name="failed",
            value=float(failures.total()),
            unit="",
            limit=0,
            note=f"{failed_before} before; {dict(failures)}",
        ),
        Figure(name="with vectors of two models", value=float(sum(one.mixed for one in watches)), unit="", limit=0),
        Figure(name="changing the model", value=forth, unit="s", note=f"{passages} passages"),
        Figure(name="going back", value=back, unit="s", limit=1),
        Figure(name="search before, p95", value=percentile(before, 0.95), unit="ms"),
        Figure(name="search meanwhile, p95", value=percentile(during, 0.95), unit="ms"),
    ]


async def fill(backend: Backend, owner: UserId, shelf: KnowledgeBaseId, folder: Path, passages: int) -> None:
    """With documents of `SECTIONS` passages each, which all end in the same words."""
    chance = random.Random(1)
    for number in range(-(-passages // SECTIONS)):
        sections = [" ".join(chance.choices(WORDS, k=150)) for _ in range(min(SECTIONS, passages - number * SECTIONS))]
        file = folder / f"{number}.txt"
        file.write_text("\n\n".join(sections))
        await backend.upload_document(owner, shelf, file, file.name)


async def _searches(watches: Sequence[Watch]) -> list[float]:
    """Let everybody search twice more, so that one of the two began after now; how long all of them took so far."""
    began = [len(one.taken) for one in watches]
    while any(len(one.taken) < count + 2 for one, count in zip(watches, began, strict=True)):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    taken = [each for one in watches for each in one.taken]
    for one in watches:
        one.taken = []
    return taken


async def _timed(backend: Backend, owner: UserId, shelf: KnowledgeBaseId, *, back: bool) -> float:
    began = time.perf_counter()
    if back:
        await backend.roll_back_reindexing(owner, shelf)
    else:
        await backend.start_reindexing(owner, shelf, NEW)
    assert await ended(backend, owner, shelf) is ReindexingState.DONE
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--passages", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds from the end of a search to the next")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(
            table(asyncio.run(measure(Path(folder), passages=given.passages, clients=given.clients, pause=given.pause)))
        )


if __name__ == "__main__":
    main()
