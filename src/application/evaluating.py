"""How well the product finds what somebody has judged to be relevant, through its own use cases."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from llm_backend.application.knowledge import CreateKnowledgeBase
from llm_backend.application.retrieval import Retrieve
from llm_backend.application.uploads import UploadDocument
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Passage
from llm_backend.domain.measures import Grades, ndcg, recall, reciprocal_rank

AT_ONCE = 8  # uploads
PASSAGES = 50  # that are asked for, so that ten documents are among them
CONTEXT = 3000  # characters of passages that an answer is looked for in

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is, of how much


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedDocument:
    """A document of a collection. A title becomes its first heading."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedQuery:
    """A question, the grades of the documents that are relevant to it, and the answers to it, where they are known."""

    id: str
    text: str
    grades: Grades
    answers: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Documents, and what should be found in them."""

    name: str
    documents: Sequence[JudgedDocument]
    queries: Sequence[JudgedQuery]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Each measure with its values, one for each query in the order of the collection, and the seconds that each query
    and all uploads together took. `degraded` is how many were searched for without vectors, or without the reranking
    that is configured."""

    measures: Mapping[str, Sequence[float]]
    query_seconds: Sequence[float]
    upload_seconds: float
    degraded: int = 0


@dataclass(frozen=True, slots=True)
class EvaluateRetrieval:
    """Upload a collection into a knowledge base of its own, and ask all its questions."""

    create_knowledge_base: CreateKnowledgeBase
    upload_document: UploadDocument
    retrieve: Retrieve

    async def __call__(self, owner: UserId, collection: Collection, progress: Progress) -> Evaluation:
        """Raises what a document of the collection fails by."""
        shelf = (await self.create_knowledge_base(owner, collection.name[:100] or "evaluation")).id
        began = time.perf_counter()
        names = await self._upload(owner, shelf, collection.documents, progress)
        upload_seconds = time.perf_counter() - began
        rows: list[Mapping[str, float]] = []
        seconds: list[float] = []
        degraded = 0
        for number, query in enumerate(collection.queries, start=1):
            began = time.perf_counter()
            found = await self.retrieve(owner, shelf, query.text, top_k=PASSAGES)
            seconds.append(time.perf_counter() - began)
            degraded += found.degraded
            rows.append(_measured(query, found.passages, names))
            progress("asking", number, len(collection.queries))
        return Evaluation(
            measures={
                # of the questions that have it: those without an answer say nothing of answers
                name: [row[name] for row in rows if name in row]
                for name in dict.fromkeys(name for row in rows for name in row)
            },
            query_seconds=seconds,
            upload_seconds=upload_seconds,
            degraded=degraded,
        )

    async def _upload(
        self, owner: UserId, shelf: KnowledgeBaseId, documents: Sequence[JudgedDocument], progress: Progress
    ) -> Mapping[DocumentId, str]:
        """The names that the collection has for the documents."""
        names: dict[DocumentId, str] = {}
        waiting = iter(enumerate(documents))

        async def upload_some(folder: Path) -> None:
            for number, document in waiting:
                file = folder / f"{number}.md"
                await asyncio.to_thread(file.write_text, _markdown(document), "utf-8")
                uploaded = await self.upload_document(owner, shelf, file, file.name)
                await asyncio.to_thread(file.unlink)
                names[uploaded.document.id] = document.id
                progress("uploading", len(names), len(documents))

        with TemporaryDirectory(prefix="llm-backend-evaluation-") as folder:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(AT_ONCE):
                        tasks.create_task(upload_some(Path(folder)))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures  # one is as good as all: what failed is told people
        return names


def _markdown(document: JudgedDocument) -> str:
    title = " ".join(document.title.split())
    return f"# {title}\n\n{document.text}" if title else document.text


def _measured(query: JudgedQuery, passages: Sequence[Passage], names: Mapping[DocumentId, str]) -> dict[str, float]:
    ranking = list(dict.fromkeys(names[passage.document] for passage in passages))
    measures = {
        "nDCG@10": ndcg(ranking, query.grades, 10),
        "recall@5": recall(ranking, query.grades, 5),
        "recall@10": recall(ranking, query.grades, 10),
        "MRR@10": reciprocal_rank(ranking, query.grades, 10),
    }
    if query.answers:
        context = _context(passages)
        measures[f"answer@{CONTEXT}"] = float(any(answer in context for answer in query.answers))
    return measures


def _context(passages: Sequence[Passage]) -> str:
    """The best passages, as long as they fit."""
    taken: list[str] = []
    room = CONTEXT
    for passage in passages:
        taken.append(passage.chunk.text[:room])
        room -= len(passage.chunk.text)
        if room <= 0:
            break
    return "\n".join(taken)
