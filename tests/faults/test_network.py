"""A network that is slow, silent or cut, between the server and what it stands on: clean errors, in bounded time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.people import Crowd
from tests.faults.readers import Reader, given_twice
from tests.faults.replicas import SOON, Replicas, UpstreamProcess, conversations, until
from tests.faults.test_outages import a_crowd, becomes, does_more
from tests.http.clients import Client
from tests.proxy import Proxy, port_of, through
from tests.servers import RedisServer
from tests.upstream import counted

CUTS = 12
SLOW = 2.0  # seconds; longer than anybody waits for Redis
# What a request may take when the database says nothing: a connection and a statement, each with its time.
IMPATIENT = {"LLM_BACKEND__DATABASE__STATEMENT_TIMEOUT": "2s", "LLM_BACKEND__DATABASE__CONNECT_TIMEOUT": "2s"}
NO_BREAKER = {"LLM_BACKEND__LLM__BREAKER__FAILURES": "null"}  # or nobody would ask after the first of these faults
BOUND = 20.0


@pytest.fixture
async def before_redis(own_redis: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(own_redis.port) as proxy:
        yield proxy


@pytest.fixture
async def before_postgres(database_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(port_of(database_url)) as proxy:
        yield proxy


@pytest.fixture
async def before_upstream(upstream_process: UpstreamProcess) -> AsyncIterator[Proxy]:
    async with Proxy(upstream_process.port) as proxy:
        yield proxy


async def cut_again_and_again(proxy: Proxy, crowd: Crowd) -> None:
    for _ in range(CUTS):
        await until(lambda: proxy.cut() > 0)
        await does_more(crowd, answers=1, uploads=0)


async def test_a_bad_network_to_redis_fails_no_request(
    tmp_path: Path,
    database_url: str,
    before_redis: Proxy,
    upstream_process: UpstreamProcess,
    own_replicas: list[Replicas],
) -> None:
    redis = f"127.0.0.1:{before_redis.port}"
    async with Replicas(tmp_path, upstream_process.base_url, database_url, redis) as replicas:
        own_replicas.append(replicas)
        async with a_crowd(replicas) as crowd:
            await cut_again_and_again(before_redis, crowd)
            before_redis.delay = SLOW
            await does_more(crowd)
            before_redis.delay = 0.0
            before_redis.silent = True
            await becomes(crowd.http, replicas.urls, "degraded")
            await does_more(crowd)
            before_redis.silent = False
            await becomes(crowd.http, replicas.urls, "ok")
        trouble = {what: times for what, times in crowd.tally.items() if what[0].isdigit() or "broken" in what}

    assert not trouble


async def test_a_bad_network_to_postgresql_gives_503_in_time_and_loses_nothing(
    tmp_path: Path,
    database_url: str,
    before_postgres: Proxy,
    upstream_process: UpstreamProcess,
    own_replicas: list[Replicas],
) -> None:
    url = through(before_postgres, database_url)
    async with Replicas(tmp_path, upstream_process.base_url, url, count=1, environment=IMPATIENT) as replicas:
        own_replicas.append(replicas)
        async with a_crowd(replicas) as crowd:
            await cut_again_and_again(before_postgres, crowd)
            before_postgres.silent = True
            await becomes(crowd.http, replicas.urls, "down")
            began = monotonic()
            reply = await crowd.http.post(
                f"{replicas.urls[0]}/api/users/register", json={"username": "late", "password": "SecureP@ss1"}
            )
            assert (reply.status_code, reply.json()["code"]) == (503, "database_unavailable")
            assert monotonic() - began < BOUND
            before_postgres.silent = False
            await becomes(crowd.http, replicas.urls, "ok")
        statuses = {what.partition(" ")[0] for what in crowd.tally if what[0].isdigit()}

    assert statuses <= {"503", "409"}


async def test_a_bad_network_to_the_provider_leaves_marked_answers_and_usable_conversations(
    tmp_path: Path, database_url: str, before_upstream: Proxy, own_replicas: list[Replicas]
) -> None:
    base_url = f"http://127.0.0.1:{before_upstream.port}/v1"
    async with (
        Replicas(tmp_path, base_url, database_url, count=1, environment=NO_BREAKER) as replicas,
        replicas.client() as http,
    ):
        own_replicas.append(replicas)
        client = await Client(http).new_user()
        ids = await conversations(client, 20, "counts:tokens=60,delay=0.05")

        cut = await asked(replicas, client, ids, "cut")
        before_upstream.cut()
        await ended(cut)
        silent = await asked(replicas, client, ids, "silent")
        before_upstream.silent = True
        await ended(silent)
        before_upstream.silent = False
        slow = await asked(replicas, client, ids, "slow")
        before_upstream.delay = 0.2
        await ended(slow)

        for number, conversation in enumerate(ids):
            messages = await client.history(conversation)
            assert [message["message_id"] for message in messages] == list(range(1, 7))
            for reader, answer in zip((cut[number], silent[number], slow[number]), messages[1::2], strict=True):
                assert answer["content"] == reader[0].text
                assert answer.get("reason", "") == reader[0].failure
    assert {reader.failure for reader, _ in cut} == {"upstream_cut_off"}
    assert {reader.failure for reader, _ in silent} == {"upstream_timeout"}
    assert all(given_twice(reader.text, "".join(counted(reader.question, 60))) == 0 for reader, _ in slow)


Asked = list[tuple[Reader, "asyncio.Task[None]"]]


async def asked(replicas: Replicas, client: Client, ids: list[int], word: str) -> Asked:
    """In each conversation, and begun to be answered."""
    readers = [
        Reader(urls=replicas.urls, token=client.token or "", conversation=each, question=f"{word}{number}")
        for number, each in enumerate(ids)
    ]
    asking = [asyncio.create_task(reader.ask()) for reader in readers]
    await until(lambda: all(reader.pieces for reader in readers))
    return list(zip(readers, asking, strict=True))


async def ended(asked: Asked) -> None:
    async with asyncio.timeout(SOON):
        await asyncio.gather(*[task for _, task in asked])
