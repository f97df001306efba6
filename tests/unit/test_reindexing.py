"""A knowledge base changes its embedding model while it is searched, written to and deleted from."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from llm_backend.application.job_runner import ToBeContinued
from llm_backend.application.kinds_of_work import KindsOfWork
from llm_backend.application.ports.embedder import Embedded
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.ports.jobs import JobId
from llm_backend.application.reindexing import KEPT_FOR, job_of
from llm_backend.domain.errors import (
    DatabaseUnavailable,
    EmbeddingModelChanged,
    EmbeddingModelInUse,
    IndexUnavailable,
    KnowledgeBaseNotFound,
    NothingToRollBack,
    ReindexingInProgress,
    ReindexingNotFound,
    UnknownEmbeddingModel,
)
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.domain.reindexing import ReindexingState, ReindexingStatus
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.testing.faults import Faults, faults_at_every_call
from tests.unit.shelves import ALICE, BOB, LEASE, LetterEmbedder, Shelf

LETTERS = LetterEmbedder().space
AT_ONCE = timedelta(0)  # each turn of the work ends after one group of documents


@pytest.fixture
async def shelf(tmp_path: Path) -> Shelf:
    return await Shelf(tmp_path).open()


async def begin(shelf: Shelf, model: str = "letters", *, idempotency: IdempotencyKey | None = None) -> str:
    return await shelf.start(ALICE, shelf.id, model, idempotency=idempotency)


async def status(shelf: Shelf) -> ReindexingStatus:
    return await shelf.check_move(ALICE, shelf.id)


async def space(shelf: Shelf) -> EmbeddingSpace:
    return (await shelf.store.knowledge_views.knowledge_base(ALICE, shelf.id)).space


async def held(shelf: Shelf, in_space: EmbeddingSpace) -> int:
    """Chunks in the index of that space, whatever the database says."""
    return await shelf.index.size(in_space, shelf.id)


async def documents(shelf: Shelf, count: int = 3) -> list[DocumentId]:
    return [(await shelf.upload(f"{name} text", f"{name}.txt")).document.id for name in "abcdefgh"[:count]]


async def one_turn(shelf: Shelf) -> bool:
    """Whether something is left to do."""
    lease = await shelf.jobs.take(LEASE)
    assert lease
    try:
        await shelf.do(lease)
    except ToBeContinued:
        await shelf.jobs.hand_back(lease)
        return True
    await shelf.jobs.done(lease)
    return False


async def test_it_moves_when_all_documents_are_in_the_new_index(shelf: Shelf) -> None:
    await documents(shelf)

    started = await begin(shelf)
    assert await space(shelf) == shelf.embedder.space
    await shelf.work()

    assert await space(shelf) == LETTERS
    found = await status(shelf)
    assert (found.reindexing.id, found.reindexing.state) == (started, ReindexingState.DONE)
    assert (found.chunks, found.embedded, found.percent) == (3, 3, 100)
    assert sorted(await shelf.found("text")) == ["a text", "b text", "c text"]
    assert await held(shelf, shelf.embedder.space) == 3


async def test_it_is_searched_in_the_old_space_meanwhile(shelf: Shelf) -> None:
    shelf.turn = AT_ONCE
    for part in range(3):
        await shelf.upload("\n\n".join(f"{part} {number} {'long ' * 400}" for number in range(300)), f"{part}.txt")
    await begin(shelf)

    turns = 0
    while await one_turn(shelf):
        turns += 1
        assert await space(shelf) == shelf.embedder.space
        assert await shelf.found("long")
        assert (await status(shelf)).percent < 100

    assert turns >= 3
    assert await space(shelf) == LETTERS


async def test_what_is_uploaded_and_deleted_meanwhile_is_right_in_both(shelf: Shelf) -> None:
    shelf.turn = AT_ONCE
    first, *_ = await documents(shelf)
    await begin(shelf)
    assert await one_turn(shelf)

    await shelf.submit("new text", "new.txt")
    await shelf.delete_document(ALICE, shelf.id, first)
    await shelf.work()

    assert await space(shelf) == LETTERS
    assert sorted(await shelf.found("text")) == ["b text", "c text", "new text"]
    assert await held(shelf, LETTERS) == await held(shelf, shelf.embedder.space) == 3
    await shelf.roll_back(ALICE, shelf.id)
    assert sorted(await shelf.found("text")) == ["b text", "c text", "new text"]


@dataclass(frozen=True, slots=True)
class MovesMeanwhile(HashEmbedder):
    """While it embeds a document, the knowledge base moves."""

    shelf: Shelf | None = None

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        assert self.shelf
        await begin(self.shelf)
        return await HashEmbedder.embed_document(self, texts)


async def test_a_document_that_is_read_in_while_it_moves_is_embedded_for_the_new_space(shelf: Shelf) -> None:
    await shelf.submit("late text", "late.txt")
    lease = await shelf.jobs.take(LEASE)
    assert lease

    shelf.embedder.inside = MovesMeanwhile(shelf=shelf)
    with pytest.raises(EmbeddingModelChanged):
        await shelf.ingest(lease.job, lambda _: None)
    await shelf.ingest(lease.job, lambda _: None)
    await shelf.jobs.done(lease)
    await shelf.work()

    assert await space(shelf) == LETTERS
    assert await shelf.found("late") == ["late text"]
    assert await held(shelf, shelf.embedder.space) == 0


async def test_going_back_is_instant_and_embeds_nothing(shelf: Shelf) -> None:
    await documents(shelf)
    await begin(shelf)
    await shelf.work()
    shelf.embedder.on = False

    await shelf.roll_back(ALICE, shelf.id)

    assert await space(shelf) == shelf.embedder.space
    shelf.embedder.on = True
    assert sorted(await shelf.found("text")) == ["a text", "b text", "c text"]
    await shelf.roll_back(ALICE, shelf.id)
    assert await space(shelf) == LETTERS


async def test_documents_that_have_come_since_are_embedded_on_the_way_back(shelf: Shelf) -> None:
    await documents(shelf, 1)
    await begin(shelf)
    await shelf.work()
    await shelf.upload("since text")

    await shelf.roll_back(ALICE, shelf.id)
    assert await space(shelf) == LETTERS
    await shelf.work()

    assert await space(shelf) == shelf.embedder.space
    assert sorted(await shelf.found("text")) == ["a text", "since text"]


async def test_old_vectors_are_dropped_after_a_while(shelf: Shelf) -> None:
    await documents(shelf)
    await begin(shelf)
    await shelf.work()

    shelf.clock.advance(KEPT_FOR - timedelta(hours=1))
    await shelf.recover()
    assert await held(shelf, shelf.embedder.space) == 3
    shelf.clock.advance(timedelta(hours=2))
    await shelf.recover()

    assert await held(shelf, shelf.embedder.space) == 0
    assert await held(shelf, LETTERS) == 3
    with pytest.raises(NothingToRollBack):
        await shelf.roll_back(ALICE, shelf.id)
    with pytest.raises(ReindexingNotFound):
        await status(shelf)
    assert sorted(await shelf.found("text")) == ["a text", "b text", "c text"]


async def test_one_that_is_cancelled_leaves_nothing_behind(shelf: Shelf) -> None:
    shelf.turn = AT_ONCE
    await documents(shelf)
    await begin(shelf)
    assert await one_turn(shelf)

    cancelled = await shelf.cancel_move(ALICE, shelf.id)
    await shelf.work()

    assert cancelled.reindexing.state is ReindexingState.CANCELLED
    assert await space(shelf) == shelf.embedder.space
    assert await held(shelf, LETTERS) == 0
    assert (await shelf.cancel_move(ALICE, shelf.id)) == await status(shelf)
    with pytest.raises(NothingToRollBack):
        await shelf.roll_back(ALICE, shelf.id)


async def test_a_model_that_fails_leaves_everything_as_it_was(shelf: Shelf) -> None:
    await documents(shelf)
    shelf.other_embedder.on = False
    await begin(shelf)

    await shelf.work()

    found = (await status(shelf)).reindexing
    assert (found.state, found.reason) == (ReindexingState.FAILED, "embedding_failed")
    assert await space(shelf) == shelf.embedder.space
    assert len(await shelf.found("text")) == 3
    shelf.other_embedder.on = True
    await begin(shelf)
    await shelf.work()
    assert await space(shelf) == LETTERS


async def test_an_empty_knowledge_base_moves_at_once(shelf: Shelf) -> None:
    await begin(shelf)

    assert await space(shelf) == LETTERS
    assert (await status(shelf)).percent == 100
    await shelf.work()


async def test_what_cannot_be_started_says_why(shelf: Shelf) -> None:
    await documents(shelf, 1)

    with pytest.raises(EmbeddingModelInUse):
        await begin(shelf, "hash-1024")
    with pytest.raises(UnknownEmbeddingModel):
        await begin(shelf, "unheard of")
    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.start(BOB, shelf.id, "letters")
    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.roll_back(BOB, shelf.id)
    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.cancel_move(BOB, shelf.id)
    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.check_move(ALICE, KnowledgeBaseId("unheard of"))
    await begin(shelf)
    with pytest.raises(ReindexingInProgress):
        await begin(shelf)


async def test_the_same_key_starts_it_once(shelf: Shelf) -> None:
    await documents(shelf, 1)
    key = IdempotencyKey(key="key", fingerprint="print")

    first = await begin(shelf, idempotency=key)
    await shelf.work()

    assert await begin(shelf, idempotency=key) == first


async def test_a_knowledge_base_deleted_meanwhile_leaves_nothing_in_either_index(shelf: Shelf) -> None:
    shelf.turn = AT_ONCE
    await documents(shelf)
    await begin(shelf)
    assert await one_turn(shelf)

    await shelf.delete(ALICE, shelf.id)
    await shelf.work()
    await shelf.recover()

    assert not await shelf.tombstones()
    assert await held(shelf, shelf.embedder.space) == await held(shelf, LETTERS) == 0
    assert not await shelf.jobs.unfinished([job_of(shelf.id)])


async def test_the_index_of_either_space_is_mended(shelf: Shelf) -> None:
    await documents(shelf)
    await begin(shelf)
    await shelf.work()
    await shelf.index.clear()

    assert await shelf.mend() == 6

    assert await held(shelf, shelf.embedder.space) == await held(shelf, LETTERS) == 3


async def test_whichever_call_fails_it_comes_to_an_end_in_the_next_process(tmp_path: Path) -> None:
    for error in (DatabaseUnavailable, IndexUnavailable):
        for afterwards in (False, True):
            for number, faults in enumerate(faults_at_every_call(error, afterwards=afterwards)):
                folder = tmp_path / f"{error.code}-{afterwards}-{number}"
                folder.mkdir()
                await cut_off_and_go_on(folder, faults)


class PowerCut(BaseException):
    """The process is gone: nobody catches this."""


async def test_wherever_the_process_dies_it_comes_to_an_end_in_the_next_one(tmp_path: Path) -> None:
    for afterwards in (False, True):
        for number, faults in enumerate(faults_at_every_call(PowerCut, afterwards=afterwards)):
            folder = tmp_path / f"{afterwards}-{number}"
            folder.mkdir()
            await cut_off_and_go_on(folder, faults)


async def cut_off_and_go_on(folder: Path, faults: Faults) -> None:
    shelf = await Shelf(folder).open()
    shelf.turn = AT_ONCE
    await documents(shelf, 2)
    shelf.faults = faults
    started = False
    with suppress(DatabaseUnavailable, IndexUnavailable, PowerCut):
        await begin(shelf)
        started = True
        await shelf.work()
    shelf.faults = None
    assert sorted(await shelf.found("text")) == ["a text", "b text"]
    if not started:
        with suppress(ReindexingInProgress, EmbeddingModelInUse):  # only the word of it was lost
            await begin(shelf)
    shelf.clock.advance(LEASE)
    await shelf.recover()
    if (await status(shelf)).reindexing.state is ReindexingState.FAILED:
        await begin(shelf)
        await shelf.recover()

    assert await space(shelf) == LETTERS
    assert Counter(await shelf.found("text")) == Counter(["a text", "b text"])
    assert await held(shelf, LETTERS) == await held(shelf, shelf.embedder.space) == 2
    assert not await shelf.jobs.unfinished([job_of(shelf.id)])


async def test_jobs_go_to_the_work_of_their_kind(shelf: Shelf) -> None:
    done: list[str] = []

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        async def __call__(self, job: JobId, report: object) -> None:
            done.append(f"{self.name} does {job}")

        async def give_up(self, job: JobId, error: Exception, report: object) -> None:
            done.append(f"{self.name} gives up {job}")

    work = KindsOfWork({"reindex:": Noting("move")}, others=Noting("other"))
    for job in (JobId("reindex:1"), JobId("1")):
        await work(job, lambda _: None)
        await work.give_up(job, ValueError(), lambda _: None)

    assert done == ["move does reindex:1", "move gives up reindex:1", "other does 1", "other gives up 1"]
