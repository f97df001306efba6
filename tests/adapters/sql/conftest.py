"""A database of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_backend.infrastructure.sql import SqlStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    async with SqlStore.open(path) as store:
        yield store
