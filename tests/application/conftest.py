"""A whole backend in memory, around a model that plays what a test tells it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.security.passwords import Argon2Cost, Argon2Passwords
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.scripted_chat_model import ScriptedChatModel


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_mapping({"data_folder": str(tmp_path / "data"), "server": {"shutdown_grace": "0s"}})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def model() -> ScriptedChatModel:
    return ScriptedChatModel()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def backend(
    settings: Settings, store: MemoryStore, model: ScriptedChatModel, clock: ManualClock
) -> AsyncIterator[Backend]:
    passwords = Argon2Passwords(Argon2Cost(time=1, memory=8))
    async with open_backend(
        settings,
        store=store,
        chat_model=model,
        clock=clock,
        passwords=passwords,
        passage_index=MemoryPassageIndex(),
    ) as opened:
        yield opened
    passwords.close()


@pytest.fixture
async def ada(backend: Backend) -> UserId:
    return await backend.register_user("ada", "correct horse")


@pytest.fixture
async def conversation(backend: Backend, ada: UserId) -> ConversationId:
    return (await backend.create_conversation(ada, "Hello", "some-model")).id
