"""The same index in an object store."""

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from llm_backend.domain.errors import IndexUnavailable
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.testing.contracts.passage_index import EAST, SHELF, SPACE, PassageIndexContract, stored, texts
from tests.servers import S3Server

SOON = timedelta(seconds=2)


@pytest.fixture
async def index(s3: S3Server) -> AsyncIterator[LanceDbPassageIndex]:
    async with LanceDbPassageIndex(f"s3://{s3.bucket}/{uuid.uuid4()}", s3.storage_options) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[S3Server]:
    """One that may be stopped."""
    with S3Server() as server:
        yield server


def hurried(server: S3Server, bucket: str = S3Server.bucket) -> LanceDbPassageIndex:
    options = {**server.storage_options, "client_max_retries": "1", "client_retry_timeout": "1", "timeout": "1s"}
    return LanceDbPassageIndex(f"s3://{bucket}/index", options, patience=SOON)


class TestPassageIndex(PassageIndexContract):
    pass


async def test_a_store_that_does_not_answer_is_unavailable_and_comes_back(server: S3Server) -> None:
    async with hurried(server) as index:
        await index.add(SPACE, [stored("fox before")])

        server.freeze()
        with pytest.raises(IndexUnavailable):
            await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)
        with pytest.raises(IndexUnavailable):
            await index.add(SPACE, [stored("fox meanwhile", document="document-2")])
        with pytest.raises(IndexUnavailable):
            await index.check()
        server.thaw()

        unhurried = LanceDbPassageIndex(f"s3://{server.bucket}/index", server.storage_options)
        async with unhurried:
            await unhurried.add(SPACE, [stored("fox after", document="document-3")])
        found = texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10))
        assert {"fox before", "fox after"} <= set(found)


async def test_a_store_that_is_away_is_unavailable(server: S3Server) -> None:
    server.stop()

    async with hurried(server) as index:
        with pytest.raises(IndexUnavailable):
            await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)
        with pytest.raises(IndexUnavailable):
            await index.add(SPACE, [stored("fox")])


async def test_a_bucket_that_is_missing_is_unavailable_until_it_is_made(server: S3Server) -> None:
    async with hurried(server) as index:
        await index.add(SPACE, [stored("fox before")])
        server.lose_everything()

        with pytest.raises(IndexUnavailable):
            await index.add(SPACE, [stored("fox meanwhile")])
        with pytest.raises(IndexUnavailable):
            await index.holdings(SPACE)

        server.make_bucket()
        assert await index.holdings(SPACE) == {}
        await index.add(SPACE, [stored("fox after")])
        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["fox after"]
