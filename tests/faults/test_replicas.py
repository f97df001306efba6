"""Two servers behind a client that goes round them, two hundred answers, and one of the servers ends in the middle."""

import asyncio
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.faults.readers import Reader, given_twice
from tests.faults.replicas import Replicas, UpstreamProcess, conversations, until
from tests.http.clients import Client
from tests.servers import RedisServer
from tests.system.processes import killed, terminated
from tests.upstream import counted

STREAMS = 200
WORDS = 60
MODEL = f"counts:tokens={WORDS},delay=0.1"
MIDDLE = WORDS // 2


def whole(reader: Reader) -> str:
    return "".join(counted(reader.question, WORDS))


def repeated(reader: Reader) -> int:
    return given_twice(reader.text, whole(reader))


class Run:
    """One question in each of two hundred conversations, by readers who begin at one of the servers each."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.readers: list[Reader] = []

    async def until_the_middle(self) -> "list[asyncio.Task[None]]":
        async with self.replicas.client() as http:
            client = await Client(http).new_user()
            self.client = client
            for number, conversation in enumerate(await conversations(client, STREAMS, MODEL)):
                urls = self.replicas.urls if number % 2 else self.replicas.urls[::-1]
                self.readers.append(
                    Reader(
                        urls=urls,
                        token=client.token or "",
                        conversation=conversation,
                        question=f"q{number}",
                        by_query=number % 4 > 1,
                    )
                )
        asking = [asyncio.create_task(reader.ask()) for reader in self.readers]
        await until(lambda: min(len(reader.pieces) for reader in self.readers) > 0)
        await until(lambda: median(len(reader.pieces) for reader in self.readers) > MIDDLE)
        return asking

    async def audit(self) -> "Counter[str]":
        """Every question has one answer, and who reads it from its beginning reads what is in the history."""
        outcomes: Counter[str] = Counter()
        async with self.replicas.client() as http:
            client = Client(http, self.client.token)
            for reader in self.readers:
                messages = await client.history(reader.conversation)
                question, answer = messages
                assert question["content"] == reader.question
                outcomes[self._outcome(reader, answer)] += 1
        for reader in self.readers[::10]:
            again = await reader.read_again(self.replicas.urls[0])
            assert again.text == (again.full or reader.text)
        return outcomes

    def _outcome(self, reader: Reader, answer: dict[str, Any]) -> str:
        where = "cut off" if reader.was_cut_off else "never cut off"
        seams = len(answer.get("seams") or [])
        if answer.get("state") == "incomplete":
            assert reader.failure == answer["reason"]
            return f"{where}, incomplete: {answer['reason']}"
        assert "state" not in answer
        assert answer["content"] == reader.full == whole(reader)
        return f"{where}, complete, {seams} seam" + ("" if seams == 1 else "s")


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
@pytest.mark.timeout(300)
async def test_a_server_that_ends_in_the_middle_costs_no_reader_a_character(
    how: str,
    tmp_path: Path,
    database_url: str,
    own_redis: RedisServer,
    upstream_process: UpstreamProcess,
    own_replicas: list[Replicas],
) -> None:
    async with Replicas(tmp_path, upstream_process.base_url, database_url, own_redis, grace="1s") as replicas:
        own_replicas.append(replicas)
        run = Run(replicas)
        asking = await run.until_the_middle()
        await (killed(replicas.servers[1]) if how == "kill -9" else terminated(replicas.servers[1]))
        await asyncio.gather(*asking)
        outcomes = await run.audit()

    print(f"{how}: {dict(outcomes)}")  # noqa: T201
    assert sum(repeated(reader) for reader in run.readers) == 0
    assert all(reader.text == reader.full for reader in run.readers)
    if how == "kill -9":
        assert sum(reader.was_cut_off for reader in run.readers) == STREAMS // 2
    else:
        assert sum(number for outcome, number in outcomes.items() if "1 seam" in outcome) > STREAMS // 4


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
@pytest.mark.timeout(300)
async def test_without_redis_it_may_repeat_what_was_not_stored_yet_and_loses_nothing(
    how: str,
    tmp_path: Path,
    database_url: str,
    upstream_process: UpstreamProcess,
    own_replicas: list[Replicas],
) -> None:
    """What a reader saw in the last half second before kill -9 was nowhere but in the process that died: it is written
    once more, and not always in the same words. Who cares replaces it by the `full_response`, which is what is stored.
    """
    async with Replicas(tmp_path, upstream_process.base_url, database_url, grace="1s") as replicas:
        own_replicas.append(replicas)
        run = Run(replicas)
        asking = await run.until_the_middle()
        await (killed(replicas.servers[1]) if how == "kill -9" else terminated(replicas.servers[1]))
        await asyncio.gather(*asking)
        outcomes = await run.audit()

    again = [repeated(reader) for reader in run.readers]
    print(f"{how} without Redis: {dict(outcomes)}, at most {max(again)} characters twice")  # noqa: T201
    assert how == "kill -9" or max(again) == 0
    assert all(not reader.was_cut_off or reader.full for reader in run.readers)
