"""The HTTP face over a backend on either profile, without sockets."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient

from llm_backend.application.backend import Backend
from llm_backend.bootstrap import Ports
from llm_backend.config import Settings
from llm_backend.config.sections import Database
from llm_backend.infrastructure.memory.rate_limiter import MemoryRateLimiter
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.infrastructure.redis.cache import RedisCache
from llm_backend.infrastructure.redis.connection import Patience, RedisConnection
from llm_backend.infrastructure.redis.rate_limiter import RedisRateLimiter
from llm_backend.infrastructure.redis.stop_signals import RedisStopSignals
from llm_backend.infrastructure.redis.stream_log import RedisStreamLog
from llm_backend.infrastructure.sql import PostgresServer
from llm_backend.interface.http.options import HttpOptions
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.databases import UNHURRIED, SqliteTemplate
from tests.http.apps import app_over
from tests.http.backends import PlainTextParser, fake_backend
from tests.http.clients import Client
from tests.servers import RedisServer

PATIENCE = Patience(command=UNHURRIED)


@pytest.fixture
def model() -> ScriptedChatModel:
    return ScriptedChatModel("R", "ust", " 是一种系统编程语言")


@pytest.fixture
def parser() -> PlainTextParser:
    return PlainTextParser()


@dataclass(frozen=True, slots=True)
class Profile:
    """What a deployment runs on. Redis, if it has one, may take its time: machines under load do."""

    database: Database = field(default_factory=Database)
    redis: RedisServer | None = None

    @asynccontextmanager
    async def ports(self) -> AsyncIterator[Ports]:
        if self.redis is None:
            yield {}
            return
        async with AsyncExitStack() as stack:
            redis, relay = [
                await stack.enter_async_context(RedisConnection.open(self.redis.address, patience=PATIENCE))
                for _ in range(2)
            ]
            yield {
                "rate_limiter": RedisRateLimiter(redis, MemoryRateLimiter()),
                "cache": RedisCache(redis),
                "stream_log": await stack.enter_async_context(RedisStreamLog(MemoryStreamLog(), relay)),
                "stop_signals": await stack.enter_async_context(RedisStopSignals(relay)),
            }


@pytest.fixture(params=["embedded", "scaled"])
def profile(request: pytest.FixtureRequest) -> Profile:
    """SQLite and this process alone, or PostgreSQL and Redis: clients cannot tell which."""
    if request.param == "embedded":
        return Profile()
    postgres: PostgresServer = request.getfixturevalue("postgres")
    database = Database(
        url=postgres.url,
        pool_max=postgres.pool_max,
        connect_timeout=UNHURRIED,
        statement_timeout=UNHURRIED,
        lock_timeout=UNHURRIED,
    )
    return Profile(database, request.getfixturevalue("empty_redis"))


@pytest.fixture
async def backend(
    tmp_path: Path,
    profile: Profile,
    model: ScriptedChatModel,
    parser: PlainTextParser,
    sqlite_template: SqliteTemplate,
) -> AsyncIterator[Backend]:
    settings = Settings(database=profile.database, data_folder=tmp_path)
    if profile.database.url is None:
        sqlite_template.copy_to(settings.database_file)
    async with profile.ports() as ports:
        ports["chat_model"], ports["parser"] = model, parser
        async with fake_backend(tmp_path, settings, **ports) as backend:
            yield backend


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def options(scratch: Path) -> HttpOptions:
    """The same for all tests, so that one application can serve them."""
    for left in scratch.iterdir():
        left.unlink()
    return HttpOptions(scratch=scratch)


@pytest.fixture
async def client(backend: Backend, options: HttpOptions) -> AsyncIterator[Client]:
    """Somebody who has not logged in."""
    with app_over(backend, options) as app:
        transport = ASGITransport(app, client=("192.0.2.1", 50_000))  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://test") as http:
            yield Client(http)


@pytest.fixture
async def alice(client: Client) -> Client:
    return await client.new_user()


@pytest.fixture
async def bob(client: Client) -> Client:
    return await client.new_user()
