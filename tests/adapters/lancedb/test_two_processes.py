"""Two replicas that write to the same place at the same time, on a disk and in an object store."""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from llm_backend.domain.ids import DocumentId
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.testing.contracts.passage_index import EAST, SHELF, SPACE, stored, texts
from tests.servers import S3Server

DOCUMENTS = 5
READ = """
import asyncio, json, sys
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.testing.contracts.passage_index import SHELF, SPACE, texts

async def main():
    async with LanceDbPassageIndex(sys.argv[1], json.loads(sys.stdin.readline())) as index:
        await index.search(SPACE, SHELF, text="fox", vector=None, limit=10)  # now it is open
        print("ready", flush=True)
        for line in sys.stdin:
            print(texts(await index.search(SPACE, SHELF, text=line, vector=None, limit=10)), flush=True)

asyncio.run(main())
"""


class Place(NamedTuple):
    uri: str
    options: dict[str, str]


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place(str(tmp_path / "lancedb"), {})
    s3: S3Server = request.getfixturevalue("s3")
    return Place(f"s3://{s3.bucket}/{uuid.uuid4()}", s3.storage_options)


@contextmanager
def process(place: Place, *command: str) -> Iterator["subprocess.Popen[str]"]:
    """Started, told the options, and ready; killed when it hangs."""
    arguments = [sys.executable, *command]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        deadline = threading.Timer(120, running.kill)
        deadline.start()
        try:
            say(running, json.dumps(place.options))
            assert hear(running) == "ready"
            yield running
        finally:
            deadline.cancel()
            running.kill()


def say(running: "subprocess.Popen[str]", line: str) -> None:
    assert running.stdin
    running.stdin.write(line + "\n")
    running.stdin.flush()


def hear(running: "subprocess.Popen[str]") -> str:
    assert running.stdout
    return running.stdout.readline().strip()


async def test_two_processes_write_at_once_and_nothing_is_lost_or_found_twice(place: Place) -> None:
    writer = str(Path(__file__).with_name("writer.py"))
    with ExitStack() as stack:
        writers = [
            stack.enter_context(process(place, writer, place.uri, name, str(DOCUMENTS))) for name in ("one", "two")
        ]
        for running in writers:
            say(running, "go")
        ends = [running.wait() for running in writers]

    assert ends == [0, 0]
    async with LanceDbPassageIndex(place.uri, place.options) as index:
        expected = {(DocumentId(f"{name}-{n}"), 1): 3 for name in ("one", "two", "all") for n in range(DOCUMENTS)}
        held = await index.holdings(SPACE)
        assert held.keys() == expected.keys()
        # Of rows that both wrote in one moment there may be two, as long as nobody finds them twice.
        assert all(held[name] == count or name[0].startswith("all") for name, count in expected.items())
        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=1000)
        names = [(one.stored.document, one.stored.chunk.position) for one in found]
        assert len(names) == len(set(names))
        assert len(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=1000)) == 3 * 3 * DOCUMENTS


async def test_each_sees_at_once_what_another_has_written_or_removed(place: Place) -> None:
    async with LanceDbPassageIndex(place.uri, place.options) as index:
        with process(place, "-c", READ, place.uri) as reader:
            for number in range(3):
                await index.add(SPACE, [stored(f"fox {number}", document=f"document-{number}")])
                say(reader, f"{number}")
                assert hear(reader) == str([f"fox {number}"])
            await index.clear()
            say(reader, "fox")
            assert hear(reader) == "[]"
            await index.optimize()
            await index.add(SPACE, [stored("fox again")])
            say(reader, "again")
            assert hear(reader) == "['fox again']"
        assert texts(await index.search(SPACE, SHELF, text="fox", vector=None, limit=10)) == ["fox again"]
