"""A response is written by one of two servers, and read on the other: from every event on, while it runs and after."""

import asyncio
import json
from pathlib import Path
from typing import Any

from httpx import AsyncClient

from tests.faults.replicas import Replicas, UpstreamProcess, until
from tests.http.clients import Client
from tests.servers import RedisServer
from tests.system.processes import killed
from tests.upstream import counted

WORDS = 40
MODEL = f"counts:tokens={WORDS},delay=0.1"
AROUND = 9  # events that are no piece of the text: four before it, one of them queued, and four behind
TEXT = "".join(counted("q", WORDS))


class Reading:
    """The events of a response, as they come from one server."""

    def __init__(self, http: AsyncClient, token: str, response: str, after: int = -1) -> None:
        self.events: list[dict[str, Any]] = []
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}
        self._path = f"/v1/responses/{response}?stream=true&starting_after={after}"

    async def run(self) -> list[dict[str, Any]]:
        async with self._http.stream("GET", self._path, headers=self._headers) as reply:
            assert reply.status_code == 200
            async for line in reply.aiter_lines():
                if line.startswith("data: "):
                    self.events.append(json.loads(line.removeprefix("data: ")))
        return self.events


async def begun(http: AsyncClient) -> tuple[str, str]:
    """A user's token, and a response of theirs in the background."""
    client = await Client(http).new_user()
    reply = await client.post("/v1/responses", {"model": MODEL, "input": "q", "background": True})
    assert reply.status_code == 200, reply.text
    return client.token or "", reply.json()["id"]


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def test_the_rest_after_every_event_on_the_server_that_does_not_write_it(
    tmp_path: Path,
    upstream_process: UpstreamProcess,
    database_url: str,
    own_redis: RedisServer,
    own_replicas: list[Replicas],
) -> None:
    async with Replicas(tmp_path, upstream_process.base_url, database_url, own_redis) as replicas:
        own_replicas.append(replicas)
        async with replicas.client(0) as here, replicas.client(1) as there:
            token, name = await begun(here)
            starts = range(-1, WORDS + AROUND + 2)
            reading = [Reading(there, token, name, after) for after in starts]
            running = [asyncio.create_task(one.run()) for one in reading]
            await until(lambda: len(reading[0].events) > 8)
            assert not running[0].done(), "it is over before anybody could read along"
            during = await asyncio.gather(*running)
            after = await asyncio.gather(*(Reading(there, token, name, start).run() for start in starts))
            here_again = await Reading(here, token, name).run()

    whole = here_again
    assert text_of(whole) == TEXT
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert whole[-1]["type"] == "response.completed"
    for start, one, other in zip(starts, during, after, strict=True):
        assert one == other == whole[start + 1 :], start


async def test_a_response_goes_on_when_its_server_dies_and_nobody_notices(
    tmp_path: Path,
    upstream_process: UpstreamProcess,
    database_url: str,
    own_redis: RedisServer,
    own_replicas: list[Replicas],
) -> None:
    async with Replicas(tmp_path, upstream_process.base_url, database_url, own_redis) as replicas:
        own_replicas.append(replicas)
        async with replicas.client(0) as here, replicas.client(1) as there:
            token, name = await begun(here)
            reader = Reading(there, token, name)
            running = asyncio.create_task(reader.run())
            await until(lambda: len(reader.events) > WORDS // 2)
            await killed(replicas.servers[0])
            events = await running
            again = await Reading(there, token, name).run()

    assert text_of(events) == text_of(again) == TEXT
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events == again
