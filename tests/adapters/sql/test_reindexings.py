"""A document that becomes ready while its knowledge base moves: whoever is first, it is where searches look for it."""

import asyncio

from llm_backend.domain.ids import DocumentId, ReindexingId
from llm_backend.domain.knowledge import KnowledgeBase
from llm_backend.infrastructure.sql import PostgresServer, SqlStore
from llm_backend.testing.builders import a_document, a_reindexing
from llm_backend.testing.contracts.knowledge_views import SHELF, SPACE, given_a_shelf
from llm_backend.testing.contracts.reindexings import LATER, TARGET
from llm_backend.testing.contracts.store import ALICE, a_vector, given_pending

ROUNDS = 20


async def move(store: SqlStore, number: int) -> bool:
    async with store.transactions() as work:
        done = await work.reindexings.finish(ReindexingId(f"move-{number}"), at=LATER)
        await work.commit()
    return done


async def make_ready(store: SqlStore, document: DocumentId, shelf: KnowledgeBase) -> bool:
    async with store.transactions() as work:
        await work.documents.store_vectors(document, 1, shelf.space, [a_vector(1)])
        ready = await work.documents.mark_ready(document, 1)
        await work.commit()
    return ready


async def test_it_is_ready_in_the_space_of_its_knowledge_base_or_not_at_all(postgres: PostgresServer) -> None:
    async with SqlStore.open_server(postgres) as one, SqlStore.open_server(postgres) as other:
        await given_a_shelf(one)
        outcomes = set()

        for number in range(ROUNDS):
            document = DocumentId(f"document-{number}")
            shelf = await one.knowledge_views.knowledge_base(ALICE, SHELF)
            target = TARGET if shelf.space == SPACE else SPACE
            await given_pending(one, a_document(document))
            async with one.transactions() as work:
                await work.reindexings.start(ALICE, a_reindexing(f"move-{number}", source=shelf.space, target=target))
                await work.commit()

            turns = [move(one, number), make_ready(other, document, shelf)]
            moved, ready = await asyncio.gather(*turns)

            outcomes.add((moved, ready))
            space = (await one.knowledge_views.knowledge_base(ALICE, SHELF)).space
            async with one.transactions() as work:
                assert not await work.documents.lacking(SHELF, space, limit=1)
                await work.reindexings.cancel(ALICE, SHELF, at=LATER)
                if ready:
                    await work.documents.bury(ALICE, SHELF, document)
                else:
                    await work.documents.mark_failed(document, "embedding_model_changed")
                await work.commit()

    assert outcomes <= {(True, False), (False, True)}
