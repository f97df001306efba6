"""A knowledge base in memory, with all use cases around it."""

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TypeVar

from llm_backend.application.embedding_in_parts import PART
from llm_backend.application.ingestion import IngestDocument
from llm_backend.application.job_runner import JobRunner, ToBeContinued
from llm_backend.application.kinds_of_work import KindsOfWork
from llm_backend.application.knowledge import CreateKnowledgeBase, DeleteDocument, DeleteKnowledgeBase
from llm_backend.application.mending import IndexState, MendIndex, Reindex
from llm_backend.application.ports.blobs import BlobKey
from llm_backend.application.ports.embedder import Embedded, Embedder, Vector
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.ports.jobs import JobId, Lease
from llm_backend.application.ports.reranker import Reranker
from llm_backend.application.reindexing import (
    PREFIX,
    TURN,
    CancelReindexing,
    CheckReindexing,
    MoveKnowledgeBase,
    ReindexKnowledgeBase,
    RollBackReindexing,
    StartReindexing,
    SweepReindexings,
)
from llm_backend.application.retrieval import CorpusSummaries, Retrieve
from llm_backend.application.standstill import Standstills
from llm_backend.application.sweeping import SweepDocuments
from llm_backend.application.uploads import (
    CancelDocument,
    CheckDocument,
    DescribeDocument,
    SubmitDocument,
    Uploaded,
    failure_of,
)
from llm_backend.application.using_stores import NoteUse, UseVectorStore
from llm_backend.domain.errors import DocumentUnreadable, DomainError, EmbeddingFailed
from llm_backend.domain.filters import Attributes
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    Block,
    DocumentState,
    DocumentStatus,
    EmbeddingSpace,
    ParsedDocument,
)
from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.infrastructure.memory.blobs import MemoryBlobs
from llm_backend.infrastructure.memory.cache import MemoryCache
from llm_backend.infrastructure.memory.jobs import MemoryJobs
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.text.folding import OpenCcFolding
from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.faults import Faults
from tests.builders import a_user

ALICE = UserId(1)
BOB = UserId(2)

LEASE = timedelta(seconds=15)
LOOKS = 5  # in the time of a lease

P = TypeVar("P")


class ParagraphParser:
    """Text files; blank lines part the blocks. `broken` is damaged."""

    async def parse(self, file: Path, name: str) -> ParsedDocument:
        text = await asyncio.to_thread(file.read_text)
        if text == "broken":
            raise DocumentUnreadable
        blocks, start = [], 0
        for paragraph in text.split("\n\n"):
            blocks.append(Block(start=start, end=start + len(paragraph)))
            start += len(paragraph) + 2
        return ParsedDocument(text=text, blocks=blocks, file_type="txt")


@dataclass(slots=True)
class FailingEmbedder:
    """A server that can be switched off; by default it is on."""

    on: bool = True
    inside: Embedder = field(default_factory=HashEmbedder)

    @property
    def space(self) -> EmbeddingSpace:
        return self.inside.space

    @property
    def cosine_weight(self) -> float:
        return self.inside.cosine_weight

    @property
    def related_cosine(self) -> float:
        return self.inside.related_cosine

    @property
    def is_lexical(self) -> bool:
        return self.inside.is_lexical

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        self._check()
        return await self.inside.embed_document(texts)

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:
        self._check()
        return await self.inside.embed_query(text, corpus)

    def summarise(self, statistics: Sequence[bytes]) -> bytes:
        return self.inside.summarise(statistics)

    def _check(self) -> None:
        if not self.on:
            raise EmbeddingFailed


@dataclass(frozen=True, slots=True)
class LetterEmbedder:
    """Another space, of another size: texts that begin with the same letter lie in the same direction."""

    cosine_weight: float = 0.7
    related_cosine: float = 0.5
    is_lexical: bool = False

    @property
    def space(self) -> EmbeddingSpace:
        return EmbeddingSpace(model="letters", dimensions=8)

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        return Embedded(vectors=[self._vector(text) for text in texts])

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:
        return self._vector(text)

    def summarise(self, statistics: Sequence[bytes]) -> bytes:
        return b""

    def _vector(self, text: str) -> Vector:
        first = ord(text[:1] or " ") % self.space.dimensions
        return array("f", [float(number == first) for number in range(self.space.dimensions)]).tobytes()


class Shelf:
    """The use cases of knowledge bases over one store and one index, and a knowledge base of Alice's in it.

    Jobs are done when a test says so, in its own task; `patience` is how long vectors may take before the words go
    ahead, and `part` how many passages of a document have their vectors made together. `faults` make the ports of
    uploads, jobs, deletions and sweeps fail; what the tests look through stays whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore()
        self.index = MemoryPassageIndex()
        self.embedder = FailingEmbedder()
        self.other_embedder = FailingEmbedder(inside=LetterEmbedder())
        self.turn = TURN
        self.patience = timedelta(hours=1)
        self.part = PART
        self.clock = ManualClock()
        self.blobs = MemoryBlobs()
        self.jobs = MemoryJobs(monotonic=self.clock.monotonic)
        self.unneeded = Standstills[BlobKey](self.clock.monotonic)
        self.steps: list[str] = []
        self.ids = CountingIds()
        self.faults: Faults | None = None
        self.id = KnowledgeBaseId("")
        self.state = IndexState()
        self._uploads = count()

    async def open(self) -> "Shelf":
        async with self.store.transactions() as work:
            await work.users.add(a_user(1))
            await work.users.add(a_user(2))
            await work.commit()
        self.id = (await self.create(ALICE, "A shelf")).id
        return self

    @property
    def create(self) -> CreateKnowledgeBase:
        return CreateKnowledgeBase(self._port(self.store.transactions), self._embedders(), self.ids, self.clock)

    @property
    def delete(self) -> DeleteKnowledgeBase:
        return DeleteKnowledgeBase(
            self._port(self.store.transactions), self._port(self.store.knowledge_views), self._port(self.index)
        )

    @property
    def delete_document(self) -> DeleteDocument:
        return DeleteDocument(
            self._port(self.store.transactions),
            self._port(self.index),
            self._port(self.blobs),
            self._port(self.jobs),
            self.runner,
        )

    @property
    def sweep(self) -> SweepDocuments:
        return SweepDocuments(
            self._port(self.store.transactions),
            self._port(self.index),
            self._port(self.blobs),
            self._port(self.jobs),
            self.runner,
            self.clock,
            unneeded=self.unneeded,
        )

    @property
    def runner(self) -> JobRunner:
        """Never started: it is only nudged."""
        return JobRunner(jobs=self.jobs, work=self.ingest)

    @property
    def ingest(self) -> IngestDocument:
        return IngestDocument(
            self._port(self.store.transactions),
            self._port(self.blobs),
            self._port(ParagraphParser()),
            OpenCcFolding(),
            self._embedders(),
            self._port(self.index),
            self.folder,
            self.patience,
            self.part,
        )

    @property
    def reindexing(self) -> ReindexKnowledgeBase:
        return ReindexKnowledgeBase(
            self._port(self.store.transactions),
            self._port(self.store.knowledge_views),
            self._embedders(),
            self._port(self.index),
            self.clock,
            turn=self.turn,
            part=self.part,
        )

    @property
    def start(self) -> StartReindexing:
        return StartReindexing(self._move)

    @property
    def roll_back(self) -> RollBackReindexing:
        return RollBackReindexing(self._move)

    @property
    def check_move(self) -> CheckReindexing:
        return CheckReindexing(self.store.knowledge_views)

    @property
    def cancel_move(self) -> CancelReindexing:
        return CancelReindexing(
            self._port(self.store.transactions), self._port(self.jobs), self.runner, self.check_move, self.clock
        )

    @property
    def sweep_moves(self) -> SweepReindexings:
        return SweepReindexings(self._port(self.store.transactions), self._port(self.jobs), self.runner, self.clock)

    @property
    def _move(self) -> MoveKnowledgeBase:
        return MoveKnowledgeBase(
            self._port(self.store.transactions),
            self._embedders(),
            self._port(self.jobs),
            self.runner,
            self.ids,
            self.clock,
        )

    @property
    def work_of_all_kinds(self) -> KindsOfWork:
        return KindsOfWork({PREFIX: self.reindexing}, others=self.ingest)

    @property
    def check(self) -> CheckDocument:
        return CheckDocument(self.store.knowledge_views, self.jobs)

    @property
    def cancel(self) -> CancelDocument:
        return CancelDocument(self._port(self.store.transactions), self._port(self.jobs), self.runner, self.check)

    @property
    def describe(self) -> DescribeDocument:
        return DescribeDocument(self._port(self.store.transactions))

    @property
    def reindex(self) -> Reindex:
        return Reindex(self.mend)

    @property
    def mend(self) -> MendIndex:
        return MendIndex(self._port(self.store.knowledge_views), self._port(self.index), self.state)

    def retrieve(self, *, threshold: float = 0.0, reranker: Reranker | None = None) -> Retrieve:
        summaries = CorpusSummaries(MemoryCache())
        return Retrieve(
            self.store.knowledge_views,
            self._embedders(),
            self.index,
            OpenCcFolding(),
            summaries,
            self.state,
            NoteUse(UseVectorStore(self.store.transactions, self.store.file_views, self.clock)),
            threshold,
            reranker,
        )

    @property
    def handing_in(self) -> SubmitDocument:
        return SubmitDocument(
            self._port(self.store.transactions),
            self._port(self.store.knowledge_views),
            self._port(self.blobs),
            self._port(self.jobs),
            self.runner,
            self._embedders(),
            self.ids,
            self.clock,
        )

    async def submit(
        self,
        text: str,
        name: str = "notes.txt",
        *,
        owner: UserId = ALICE,
        shelf: KnowledgeBaseId | None = None,
        idempotency: IdempotencyKey | None = None,
        attributes: Attributes | None = None,
        replace: bool = False,
    ) -> DocumentId:
        file = self.folder / f"upload-{next(self._uploads)}"
        file.write_text(text)
        return await self.handing_in(
            owner, shelf or self.id, file, name, idempotency=idempotency, attributes=attributes, replace=replace
        )

    async def upload(
        self,
        text: str,
        name: str = "notes.txt",
        *,
        owner: UserId = ALICE,
        shelf: KnowledgeBaseId | None = None,
        idempotency: IdempotencyKey | None = None,
        attributes: Attributes | None = None,
        replace: bool = False,
    ) -> Uploaded:
        """Hand it in, and do all jobs once. Raises what the document failed by."""
        document = await self.submit(
            text, name, owner=owner, shelf=shelf, idempotency=idempotency, attributes=attributes, replace=replace
        )
        await self.work()
        status = await self.status(document)
        if status.document.state is DocumentState.FAILED:
            raise failure_of(status.document)
        return Uploaded(status.document, status.chunks)

    async def work(self, *, most: int = 1000) -> None:
        """Do the jobs that are there, each with a single attempt."""
        jobs = self._port(self.jobs)
        for _ in range(most):
            lease = await jobs.take(LEASE)
            if lease is None:
                break
            try:
                await self.do(lease)
            except ToBeContinued:
                await jobs.hand_back(lease)
            else:
                await jobs.done(lease)

    async def look_on(self) -> None:
        """Do the jobs that are there until others, which are held, have been silent for a lease."""
        for _ in range(LOOKS):
            await self.work()
            self.clock.advance(LEASE / LOOKS)

    async def pending(self) -> list[JobId]:
        """The documents whose jobs have been asked for and are not done."""
        async with self.store.transactions() as work:
            documents = [JobId(document) for document in await work.documents.pending()]
        return list(await self.jobs.unfinished(documents))

    async def do(self, lease: Lease) -> None:
        work = self.work_of_all_kinds
        try:
            await work(lease.job, lambda progress: self.steps.append(progress.step))
        except DomainError as error:
            await work.give_up(lease.job, error, lambda progress: self.steps.append(progress.step))

    async def recover(self) -> None:
        """What a new process does with what a dead one left: sweeps and jobs, until no lease and no file is left."""
        for _ in range(3):
            await self.sweep()
            await self.sweep_moves()
            await self.look_on()
            self.clock.advance(self.sweep.orphaned_after)

    async def status(self, document: DocumentId, owner: UserId = ALICE) -> DocumentStatus:
        return await self.check(owner, document)

    async def listed(self) -> list[str]:
        return [document.name for document in await self.store.knowledge_views.documents(ALICE, self.id)]

    async def found(self, query: str) -> list[str]:
        return [passage.chunk.text for passage in (await self.retrieve()(ALICE, self.id, query)).passages]

    async def indexed(self, text: str) -> int:
        """How many chunks of anything the index itself would find, whatever the database says."""
        return len(await self.index.search(HashEmbedder().space, self.id, text=text, vector=None, limit=100))

    async def tombstones(self) -> int:
        async with self.store.transactions() as work:
            return len(await work.documents.tombstones())

    def _embedders(self) -> ConfiguredEmbedders:
        return ConfiguredEmbedders([self.embedder, self.other_embedder], default="hash-1024")

    def _port(self, port: P) -> P:
        return self.faults.wrap(port) if self.faults else port
