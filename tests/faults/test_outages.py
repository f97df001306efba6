"""Redis and PostgreSQL go away under load and come back; so does a server's answer to whether it is well."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from httpx import AsyncClient, Limits

from tests.faults.people import Crowd
from tests.faults.replicas import SOON, Replicas, UpstreamProcess, until
from tests.servers import PostgresCluster, RedisServer

LONG, SHORT = 60.0, 1.0  # seconds for which Redis is away, and for which it does not answer
UNHURRIED = 1.0  # seconds between two things that a person does: whatever they do is looked for in the end


async def state(http: AsyncClient, url: str) -> str:
    return str((await http.get(f"{url}/readyz")).json()["status"])


async def becomes(http: AsyncClient, urls: list[str], wanted: str) -> None:
    async with asyncio.timeout(SOON):
        while {await state(http, url) for url in urls} != {wanted}:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


@asynccontextmanager
async def a_crowd(replicas: Replicas) -> AsyncIterator[Crowd]:
    """At work inside of the block; in the end everything is there that they were told."""
    async with AsyncClient(timeout=SOON, limits=Limits(max_keepalive_connections=0)) as http:
        crowd = Crowd(urls=replicas.urls, http=http, pause=UNHURRIED)
        await crowd.come()
        staying = asyncio.create_task(crowd.stay())
        try:
            await does_more(crowd)
            yield crowd
            await does_more(crowd)
        finally:
            crowd.leave.set()
            await staying
        assert await crowd.audit() == []
        assert crowd.repetitions() == []
        assert not crowd.tally["answers incomplete"]
        print(dict(crowd.tally))  # noqa: T201


async def does_more(crowd: Crowd, answers: int = 12, uploads: int = 3) -> None:
    asked, uploaded = crowd.tally["answers"] + answers, crowd.tally["uploads"] + uploads
    await until(lambda: crowd.tally["answers"] >= asked and crowd.tally["uploads"] >= uploaded)


@pytest.mark.timeout(600)
async def test_no_request_fails_because_redis_does(
    tmp_path: Path,
    database_url: str,
    own_redis: RedisServer,
    upstream_process: UpstreamProcess,
    own_replicas: list[Replicas],
) -> None:
    async with Replicas(tmp_path, upstream_process.base_url, database_url, own_redis) as replicas:
        own_replicas.append(replicas)
        async with a_crowd(replicas) as crowd:
            await becomes(crowd.http, replicas.urls, "ok")
            absences = ((own_redis.stop, own_redis.start, LONG), (own_redis.freeze, own_redis.thaw, SHORT))
            for go_away, come_back, duration in absences:
                go_away()
                await becomes(crowd.http, replicas.urls, "degraded")
                await asyncio.sleep(duration)
                await does_more(crowd)
                come_back()
                await becomes(crowd.http, replicas.urls, "ok")
        trouble = {what: times for what, times in crowd.tally.items() if what[0].isdigit() or "broken" in what}

    assert not trouble


async def test_a_restart_of_postgresql_loses_nothing_that_was_acknowledged(
    tmp_path: Path,
    own_cluster: PostgresCluster,
    own_redis: RedisServer,
    upstream_process: UpstreamProcess,
    own_replicas: list[Replicas],
) -> None:
    async with Replicas(tmp_path, upstream_process.base_url, own_cluster.url(), own_redis) as replicas:
        own_replicas.append(replicas)
        async with a_crowd(replicas) as crowd:
            for _ in range(2):
                own_cluster.stop()
                await becomes(crowd.http, replicas.urls, "down")
                own_cluster.start()
                await becomes(crowd.http, replicas.urls, "ok")
                await does_more(crowd)
        statuses = {what.partition(" ")[0] for what in crowd.tally if what[0].isdigit()}

    assert statuses <= {"503", "409"}
