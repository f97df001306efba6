"""`llm-backend reindex` fills the passage index and does nothing else that a server would do."""

from pathlib import Path

from llm_backend import Settings
from llm_backend.bootstrap.reindexing import reindex
from llm_backend.domain.answers import AnswerState
from llm_backend.domain.ids import WriterId
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.infrastructure.sql import SqlStore
from llm_backend.testing.builders import a_conversation, a_document, a_knowledge_base, a_turn, a_user
from llm_backend.testing.contracts.store import given, given_ready


async def test_what_the_index_lacks_is_put_back_and_the_answers_of_others_are_left_to_servers(tmp_path: Path) -> None:
    settings = Settings.from_mapping({"data_folder": tmp_path / "data"})
    turn, shelf, document = a_turn(), a_knowledge_base(), a_document()
    async with SqlStore.open(settings.database_file) as store:
        await given(store, a_user(), a_conversation(), shelf)
        await given_ready(store, document)
        await store.journal_of(WriterId("dead")).begin(turn)

    held = await reindex(settings, anew=False)

    async with SqlStore.open(settings.database_file) as store, LanceDbPassageIndex(settings.lancedb_uri) as index:
        [space] = await store.knowledge_views.spaces()
        answer = await store.journal.find(turn.answer.owner, turn.answer.id)
        assert await index.size(space) == held == 1
    assert answer.state is AnswerState.RUNNING
