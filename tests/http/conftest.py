"""The HTTP face over a backend in memory, without sockets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient

from llm_backend.application.backend import Backend
from llm_backend.interface.http.app import create_app
from llm_backend.interface.http.options import HttpOptions
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.backends import PlainTextParser, fake_backend, memory_backend
from tests.http.clients import Client


@pytest.fixture
def model() -> ScriptedChatModel:
    return ScriptedChatModel("R", "ust", " 是一种系统编程语言")


@pytest.fixture
def parser() -> PlainTextParser:
    return PlainTextParser()


@pytest.fixture
def stored_in() -> str:
    """Modules that are about what is stored are run with `sqlite` as well."""
    return "memory"


@pytest.fixture
async def backend(
    tmp_path: Path, stored_in: str, model: ScriptedChatModel, parser: PlainTextParser
) -> AsyncIterator[Backend]:
    opened = memory_backend if stored_in == "memory" else fake_backend
    async with opened(tmp_path, chat_model=model, parser=parser) as backend:
        yield backend


@pytest.fixture
def options(tmp_path: Path) -> HttpOptions:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return HttpOptions(scratch=scratch)


@pytest.fixture
async def client(backend: Backend, options: HttpOptions) -> AsyncIterator[Client]:
    """Somebody who has not logged in."""
    transport = ASGITransport(create_app(backend, options), client=("192.0.2.1", 50_000))  # type: ignore[arg-type]
    async with AsyncClient(transport=transport, base_url="http://test") as http:
        yield Client(http)


@pytest.fixture
async def alice(client: Client) -> Client:
    return await client.new_user()


@pytest.fixture
async def bob(client: Client) -> Client:
    return await client.new_user()
