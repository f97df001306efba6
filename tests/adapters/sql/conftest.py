"""A database of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_backend.infrastructure.sql import PostgresServer, SqlStore
from tests.databases import SqliteTemplate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> SqlStore:
    """What is kept in either database has to pass the same tests."""
    store: SqlStore = request.getfixturevalue(f"{request.param}_store")
    return store


@pytest.fixture
async def sqlite_store(path: Path, sqlite_template: SqliteTemplate) -> AsyncIterator[SqlStore]:
    sqlite_template.copy_to(path)
    async with SqlStore.open(path) as store:
        yield store


@pytest.fixture
async def postgres_store(postgres: PostgresServer) -> AsyncIterator[SqlStore]:
    async with SqlStore.open_server(postgres) as store:
        yield store
