"""A large knowledge base beside many small ones: searches, and reading documents in.

    python -m benchmarks.scale [--passages 100000] [--documents 1000] [--megabytes 10] [--only search|ingestion|large]

Searches ask the index itself, with vectors that are given: what is measured is neither an embedder nor HTTP. Documents
go to `llm-backend serve` over HTTP, one page each, from sixteen clients at once.
"""

import argparse
import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import Client
from benchmarks.figures import Figure, percentile, table
from benchmarks.processes import cpu_seconds, family, resident_mib
from benchmarks.retrieval import SYLLABLES
from benchmarks.server import configure, prepare, serving
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import Chunk, EmbeddingSpace, StoredChunk
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex

SMALL_BASES, SMALL_SIZE = 200, 50
SPACE = EmbeddingSpace(model="measured", dimensions=1024)
BIG = KnowledgeBaseId("big")
CLUSTERS = 200  # of the vectors: embeddings are not spread evenly
SEARCHES, WARMING_UP = 100, 10
CLIENTS = 16
PAGE = 2500  # characters
TIME_LIMITS = {5_000: 60.0, 100_000: 150.0}


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of each search, and of processor time on average."""

    times: list[float]
    cpu: float

    def figures(self, name: str, limit: float | None = None) -> list[Figure]:
        return [
            Figure(name=f"{name}, p50", value=percentile(self.times, 0.5), unit="ms"),
            Figure(name=f"{name}, p95", value=percentile(self.times, 0.95), unit="ms", limit=limit),
            Figure(name=f"{name}, CPU", value=self.cpu, unit="ms"),
        ]


@dataclass(slots=True)
class Memory:
    """The most that this process, and any that it started, had at one time, in MiB."""

    own: float = 0.0
    others: float = 0.0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        me = os.getpid()
        while True:
            each = {pid: resident_mib(pid, alone=True) for pid in family(me)}
            self.own = max(self.own, each.pop(me))
            self.others = max(self.others, *each.values(), 0.0)
            await asyncio.sleep(0.05)


class Texts:
    """Passages of words that nobody has written, frequent ones often, and vectors in clusters; the same every time."""

    def __init__(self) -> None:
        self._chance = random.Random(1)
        self._numbers = np.random.default_rng(1)
        self._words = ["".join(self._chance.choices(SYLLABLES, k=self._chance.randint(2, 5))) for _ in range(5000)]
        self._centres = self._numbers.standard_normal((CLUSTERS, SPACE.dimensions)).astype("f4")

    def question(self) -> str:
        return " ".join(self._chance.choices(self._words, k=6))

    def passage(self, words: int = 60) -> str:
        return " ".join(self._words[int(len(self._words) * self._chance.random() ** 3)] for _ in range(words))

    def vectors(self, count: int) -> NDArray[np.float32]:
        noise = self._numbers.standard_normal((count, SPACE.dimensions)).astype("f4")
        rows = self._centres[self._numbers.integers(0, CLUSTERS, count)] + noise
        unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
        return unit

    def stored(self, base: KnowledgeBaseId, count: int, first: int = 0) -> list[StoredChunk]:
        return [self._chunk(base, first + n, vector) for n, vector in enumerate(self.vectors(count))]

    def _chunk(self, base: KnowledgeBaseId, number: int, vector: NDArray[np.float32]) -> StoredChunk:
        text = self.passage()
        chunk = Chunk(position=number % 50, start=0, end=len(text), text=text, search_text=text)
        document = DocumentId(f"{base}-{number // 50}")
        return StoredChunk(knowledge_base=base, document=document, attempt=1, chunk=chunk, vector=vector.tobytes())


async def search(passages: int, folder: Path) -> list[Figure]:
    texts = Texts()
    memory = Memory()
    async with memory.watched(), LanceDbPassageIndex(str(folder / "lancedb")) as index:
        for first in range(0, passages, 1000):
            await index.add(SPACE, texts.stored(BIG, min(1000, passages - first), first), new=True)
        for number in range(SMALL_BASES):
            await index.add(SPACE, texts.stored(KnowledgeBaseId(f"small-{number}"), SMALL_SIZE), new=True)
        began = cpu_seconds(os.getpid())
        await index.optimize()
        tidying = cpu_seconds(os.getpid()) - began
        big = await _searched(index, texts, BIG)
        await index.add(SPACE, texts.stored(BIG, 500, passages), new=True)
        fresh = await _searched(index, texts, BIG)
        some = await _searched(index, texts, BIG, [DocumentId(f"{BIG}-{number}") for number in range(10)])
        small = await _searched(index, texts, KnowledgeBaseId("small-7"))
    name = f"search among {passages:,}"
    return [
        *big.figures(name, TIME_LIMITS.get(passages)),
        *fresh.figures(f"{name} and 500 that are new"),
        *some.figures(f"{name}, held to ten documents"),
        *small.figures(f"search among {SMALL_SIZE} beside them"),
        Figure(name="the last compaction and indexing, CPU", value=tidying, unit="s"),
        Figure(name="most memory, with what is measured with", value=memory.own, unit="MiB", limit=500.0),
        Figure(name="most memory of a process that compacts and indexes", value=memory.others, unit="MiB"),
    ]


async def _searched(
    index: LanceDbPassageIndex, texts: Texts, base: KnowledgeBaseId, documents: list[DocumentId] | None = None
) -> Cost:
    times = []
    cpu = 0.0
    for number, vector in enumerate(texts.vectors(SEARCHES + WARMING_UP)):
        began, worked = time.perf_counter(), time.process_time()
        await index.search(SPACE, base, text=texts.question(), vector=vector.tobytes(), limit=100, documents=documents)
        if number >= WARMING_UP:
            times.append(1000 * (time.perf_counter() - began))
            cpu += 1000 * (time.process_time() - worked)
    return Cost(times, cpu / SEARCHES)


def ingest(documents: int, folder: Path) -> list[Figure]:
    config = configure(folder)
    prepare(config)
    texts = Texts()
    pages = [texts.passage(PAGE // 7).encode() for _ in range(documents)]
    with serving(config, core=None) as server:
        with Client(server.port) as client:
            client.sign_in()
            shelf = client.post("/api/rag/kb/create", {"kb_name": "Measured"})["kb_id"]
            client.upload("/api/rag/doc/upload", {"kb_id": shelf}, "first.txt", b"What is loaded once is loaded now.")
        before, began = cpu_seconds(server.pid), time.perf_counter()
        waiting = iter(enumerate(pages))
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda _: _upload_some(server.port, shelf, waiting), range(CLIENTS)))
        seconds = time.perf_counter() - began
        cpu = cpu_seconds(server.pid) - before
        memory = resident_mib(server.pid, "VmHWM")
    return [
        Figure(name="seconds for 50 documents of one page", value=50 * seconds / documents, unit="s", limit=1.0),
        Figure(name="CPU for a document of one page", value=1000 * cpu / documents, unit="ms"),
        Figure(name="most memory meanwhile", value=memory, unit="MiB", limit=500.0),
    ]


def _upload_some(port: int, shelf: str, waiting: Iterator[tuple[int, bytes]]) -> None:
    with Client(port) as client:
        client.sign_in()
        for number, page in waiting:
            client.upload("/api/rag/doc/upload", {"kb_id": shelf}, f"{number}.txt", page)


def ingest_large(megabytes: int, folder: Path) -> list[Figure]:
    """One long text, of which every paragraph is a passage or two."""
    config = configure(folder)
    prepare(config)
    texts = Texts()
    content = bytearray()
    while len(content) < megabytes << 20:
        content += texts.passage(30).encode() + b"\n\n"
    with serving(config, core=None) as server, Client(server.port) as client:
        client.sign_in()
        shelf = client.post("/api/rag/kb/create", {"kb_name": "Measured"})["kb_id"]
        client.upload("/api/rag/doc/upload", {"kb_id": shelf}, "first.txt", b"What is loaded once is loaded now.")
        before, began = resident_mib(server.pid, alone=True), time.perf_counter()
        client.upload("/api/rag/doc/upload", {"kb_id": shelf}, "large.txt", bytes(content))
        seconds = time.perf_counter() - began
        most = resident_mib(server.pid, "VmHWM", alone=True)
    name = f"a document of {megabytes} MB"
    return [
        Figure(name=name, value=seconds, unit="s"),
        Figure(name=f"{name}: memory of the server before", value=before, unit="MiB"),
        Figure(name=f"{name}: most memory of the server", value=most, unit="MiB", limit=500.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--passages", type=int, action="append", help="may be repeated; 5000 and 100000 if none is given"
    )
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=10)
    parser.add_argument("--only", choices=["search", "ingestion", "large"])
    given = parser.parse_args()
    for passages in (given.passages or TIME_LIMITS) if given.only in {None, "search"} else ():
        with TemporaryDirectory(prefix="llm-backend-bench-") as folder:
            print(table(asyncio.run(search(passages, Path(folder)))), flush=True)
    if given.only in {None, "ingestion"}:
        with TemporaryDirectory(prefix="llm-backend-bench-") as folder:
            print(table(ingest(given.documents, Path(folder))), flush=True)
    if given.only in {None, "large"}:
        with TemporaryDirectory(prefix="llm-backend-bench-") as folder:
            print(table(ingest_large(given.megabytes, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
