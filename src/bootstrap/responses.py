"""What responses are made of: where they live, and what is asked for them."""

from datetime import timedelta
from pathlib import Path

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.answering import FollowAnswer
from llm_backend.application.composing import ComposeRequest
from llm_backend.application.composing_responses import ComposeResponse
from llm_backend.application.files import FindFile
from llm_backend.application.grounding import GroundAnswer, NoteFiles
from llm_backend.application.reading_inputs import ReadInputFiles
from llm_backend.application.recalling_items import RecallItem
from llm_backend.application.responses import PrepareResponse, Shelf
from llm_backend.application.sourcing import FindSources
from llm_backend.application.usage import RecordUsage
from llm_backend.bootstrap.adapters import Adapters
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog


def stored_shelf(adapters: Adapters, runner: AnswerRunner, follow: FollowAnswer) -> Shelf:
    """For responses that are kept, among all other answers."""
    return Shelf(
        journal=adapters.store.journal,
        runner=runner,
        responses=adapters.store.response_views,
        transactions=adapters.store.transactions,
        follow=follow,
    )


def shelf_in_passing(adapters: Adapters, record: RecordUsage, grace: timedelta) -> Shelf:
    """For responses that are not to be stored. Its runner is yet to be started."""
    store, log = MemoryStore(), MemoryStreamLog()
    runner = AnswerRunner(
        model=adapters.chat_model,
        journal=store.journal,
        leases=store.leases,
        log=log,
        now=adapters.clock,
        record=record,
        grace=grace,
    )
    return Shelf(
        journal=store.journal,
        runner=runner,
        responses=store.response_views,
        transactions=store.transactions,
        follow=FollowAnswer(store.journal, log, runner),
    )


def compose_response(adapters: Adapters) -> ComposeResponse:
    compose, store = ComposeRequest(adapters.chat_model, adapters.secret_box), adapters.store
    return ComposeResponse(compose, store.response_views, store.conversation_views)


def read_input_files(adapters: Adapters, find: FindFile, scratch: Path) -> ReadInputFiles:
    recall = RecallItem(adapters.store.conversation_views)
    return ReadInputFiles(
        recall=recall, find=find, blobs=adapters.blobs, parser=adapters.parser, ids=adapters.ids, scratch=scratch
    )


def prepare_response(
    adapters: Adapters, read_files: ReadInputFiles, find: FindSources, ground: GroundAnswer, answering_model: str
) -> PrepareResponse:
    return PrepareResponse(
        conversations=adapters.store.conversation_views,
        compose=compose_response(adapters),
        read_files=read_files,
        find=find,
        ground=ground,
        note_files=NoteFiles(adapters.store.file_views),
        ids=adapters.ids,
        now=adapters.clock,
        answering_model=answering_model,
    )
