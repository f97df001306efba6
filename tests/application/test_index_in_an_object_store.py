"""A whole backend whose passages are in an object store that goes away, or loses everything."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.health import Health
from llm_backend.domain.errors import IndexUnavailable
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.infrastructure.security.passwords import Argon2Cost, Argon2Passwords
from tests.servers import S3Server


@pytest.fixture
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def settings(server: S3Server, tmp_path: Path) -> Settings:
    storage = {"endpoint": server.endpoint, "allow_http": True, "access_key": "test", "secret_key": "test"}
    place = {"lancedb_uri": f"s3://{server.bucket}/passages"}
    return Settings.from_mapping({"data_folder": str(tmp_path / "data"), "object_storage": storage, "rag": place})


@pytest.fixture
async def passwords() -> AsyncIterator[Argon2Passwords]:
    passwords = Argon2Passwords(Argon2Cost(time=1, memory=8))
    yield passwords
    passwords.close()


async def given_a_document(backend: Backend, folder: Path) -> tuple[UserId, KnowledgeBaseId]:
    ada = await backend.register_user("ada", "correct horse")
    shelf = (await backend.create_knowledge_base(ada, "Animals")).id
    file = folder / "fox.txt"
    file.write_text("The quick brown fox jumps over the lazy dog.")
    await backend.upload_document(ada, shelf, file, "fox.txt")
    return ada, shelf


async def test_what_the_store_has_lost_comes_back_from_the_database(
    settings: Settings, passwords: Argon2Passwords, server: S3Server, tmp_path: Path
) -> None:
    async with open_backend(settings, passwords=passwords) as backend:
        ada, shelf = await given_a_document(backend, tmp_path)
        server.lose_everything()
        with pytest.raises(IndexUnavailable):
            await backend.retrieve(ada, shelf, "fox")
        assert (await backend.check_readiness()).health is Health.DEGRADED

        server.make_bucket()
        assert await backend.reindex() == 1

        assert (await backend.check_readiness()).health is Health.OK
        assert len((await backend.retrieve(ada, shelf, "fox")).passages) == 1

    server.lose_everything()
    server.make_bucket()
    async with open_backend(settings, passwords=passwords) as backend:
        async with asyncio.timeout(60):
            while not await found_something(backend, ada, shelf):
                pass  # every look is a way to the server and back; the comparison is in the background meanwhile


async def found_something(backend: Backend, ada: UserId, shelf: KnowledgeBaseId) -> bool:
    try:
        return bool((await backend.retrieve(ada, shelf, "fox")).passages)
    except IndexUnavailable:
        return False


async def test_an_upload_into_a_store_that_is_away_fails_and_leaves_nothing(
    settings: Settings, passwords: Argon2Passwords, server: S3Server, tmp_path: Path
) -> None:
    async with open_backend(settings, passwords=passwords) as backend:
        ada, shelf = await given_a_document(backend, tmp_path)
        server.stop()

        with pytest.raises(IndexUnavailable):
            await backend.upload_document(ada, shelf, tmp_path / "fox.txt", "again.txt")
        assert [document.name for document in await backend.list_documents(ada, shelf)] == ["fox.txt"]
        await backend.delete_document(ada, shelf, (await backend.list_documents(ada, shelf))[0].id)
        assert not await backend.list_documents(ada, shelf)

        server.start()
        await backend.upload_document(ada, shelf, tmp_path / "fox.txt", "after.txt")
        assert [passage.document_name for passage in (await backend.retrieve(ada, shelf, "fox")).passages] == [
            "after.txt"
        ]
