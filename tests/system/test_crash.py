"""kill -9 at random moments under load: nothing acknowledged is missing, nothing is there by halves.

`LLM_BACKEND_CRASHES` sets the number of kills, `LLM_BACKEND_CRASH_SEED` repeats a run as far as that can be repeated.
"""

import asyncio
import json
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, RemoteProtocolError

from tests.http.clients import Client
from tests.live import ServerProcess
from tests.system.audit import Audit, Findings
from tests.system.load import Load
from tests.system.processes import NewServer, connected, killed, started
from tests.system.streams import SOON
from tests.upstream import Upstream, text

CRASHES = int(os.environ.get("LLM_BACKEND_CRASHES", "10"))
SEED = int(os.environ.get("LLM_BACKEND_CRASH_SEED") or random.SystemRandom().randrange(10**6))
LONGEST_LOAD = 20.0  # seconds, should nobody be acknowledged as often as wanted


async def crashed_under(load: Load, server: ServerProcess, chance: random.Random, *, papers: int) -> None:
    """Kill it after a random number of acknowledgements, with so many documents among them, and a little while more."""
    running = asyncio.create_task(load.run())
    enough = asyncio.create_task(load.acknowledges(chance.randint(8, 80), papers=papers))
    await asyncio.wait({running, enough}, timeout=LONGEST_LOAD, return_when=asyncio.FIRST_COMPLETED)
    enough.cancel()
    await asyncio.sleep(chance.random() * 0.1)
    await killed(server)
    await asyncio.wait_for(running, SOON)


def well(upstream: Upstream) -> str:
    upstream._queue.clear()
    upstream.next("burst:tokens=12")
    return text(12)


@pytest.mark.timeout(120 + 30 * CRASHES)
@pytest.mark.parametrize("half", [0, 1])
async def test_what_was_acknowledged_survives_kill_9_and_nothing_is_there_by_halves(
    half: int, new_server: NewServer, config: str, upstream: Upstream, tmp_path: Path
) -> None:
    chance = random.Random(SEED + half)
    loads, findings = [], Findings()
    server = await started(new_server(config))

    for crash in range((CRASHES + half) // 2):
        async with AsyncClient(base_url=server.url, timeout=SOON) as http:
            loads.append(Load(http, chance, mark=f"c{crash}"))
            await crashed_under(loads[-1], server, chance, papers=crash % 2)
        await started(server)
        async with connected(server) as client:
            await Audit(client.http, findings, lambda: well(upstream)).of(loads[-1])

    at_the_end = Findings()
    async with connected(server) as client:
        for load in loads:
            await Audit(client.http, at_the_end, lambda: well(upstream)).of(load)
    print(f"seed {SEED}: {sum(load.acknowledged for load in loads)} acknowledgements, {findings}")  # noqa: T201
    assert min(at_the_end.accounts, at_the_end.answers, findings.cut, findings.papers) > 0


async def test_who_was_told_more_of_a_response_than_was_stored_hears_of_its_end(
    new_server: NewServer, config: str, upstream: Upstream
) -> None:
    server = await started(new_server(config))
    async with AsyncClient(base_url=server.url, timeout=SOON) as http:
        token = (await Client(http).new_user()).token
        seen = await _events_until_killed(http, token or "", server)
    await started(server)

    async with AsyncClient(base_url=server.url, timeout=SOON) as http:
        stream = f"/v1/responses/{seen[0]['response']['id']}?stream=true"
        whole = await Client(http, token).get(stream)
        beyond = seen[-1]["sequence_number"] + 20
        rest = _data_of((await Client(http, token).get(f"{stream}&starting_after={beyond}")).text)

    assert _data_of(whole.text)[-1]["type"] == "response.failed"
    assert [event["type"] for event in rest] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.failed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in rest] == list(range(beyond + 1, beyond + 5))


async def _events_until_killed(http: AsyncClient, token: str, server: ServerProcess) -> list[dict[str, Any]]:
    """Those of a response in the middle of which the server dies. What it told last was not stored yet."""
    asked = {"model": "counts:tokens=200,delay=0.03", "input": "q", "stream": True, "background": True}
    seen: list[dict[str, Any]] = []
    headers = {"Authorization": f"Bearer {token}"}
    with suppress(RemoteProtocolError):
        async with http.stream("POST", "/v1/responses", json=asked, headers=headers) as reply:
            async for line in reply.aiter_lines():
                seen += _data_of(line)
                if len(seen) == 60 and server.process.poll() is None:
                    await killed(server)
    return seen


def _data_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n") if line.startswith("data: ")]
