"""The data folder on a file system of 64 MiB, until nothing fits any more, and after somebody has made room."""

import asyncio
import os
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from tests.conftest import missing
from tests.faults.replicas import SOON, UpstreamProcess
from tests.http.clients import Client
from tests.live import ServerProcess
from tests.system.processes import configuration, killed, started
from tests.upstream import counted

SIZE = "64m"
BALLAST = 48 * 2**20  # bytes; what is left is soon full
REFUSALS = {
    (507, "storage_full"),
    (503, "database_unavailable"),
    (503, "index_unavailable"),
    (503, "blobs_unavailable"),
}
WORDS = 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Only root can have one."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], check=False)
    if mounted.returncode:
        missing("no file system can be mounted")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
async def server(small_disk: Path, tmp_path: Path, upstream_process: UpstreamProcess) -> AsyncIterator[ServerProcess]:
    folder = {"LLM_BACKEND__DATA_FOLDER": str(small_disk / "data"), "LLM_BACKEND__LOG__LEVEL": "warning"}
    server = ServerProcess(tmp_path, configuration(upstream_process.base_url), environment=folder)
    yield await started(server)
    await asyncio.to_thread(server.__exit__)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Not a byte is left, until the end of the block."""
    ballast = disk / "more-ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    yield
    ballast.unlink()


async def until_refused(act: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while await act():
            pass


class Shelf:
    """A user who uploads, asks, and remembers what was acknowledged."""

    def __init__(self, client: Client, shelf: str) -> None:
        self.client = client
        self.id = shelf
        self.papers: dict[str, str] = {}
        self.talks: dict[int, str] = {}
        self.cut_off: set[int] = set()  # those whose readers heard that the end could not be stored yet
        self.refusals: Counter[tuple[int, str]] = Counter()
        self._number = 0

    async def upload(self) -> bool:
        self._number += 1
        word = f"zqx{self._number}"
        content = " ".join([f"The word of this paper is {word}.", *(f"{word}{n} fjord." for n in range(4000))])
        reply = await self.client.upload(self.id, f"{word}.txt", content.encode())
        if reply.status_code == 200:
            self.papers[reply.json()["doc_id"]] = word
            return True
        self.refusals[reply.status_code, reply.json()["code"]] += 1
        return False

    async def talk(self) -> bool:
        model = f"counts:tokens={WORDS}"
        reply = await self.client.post("/api/conversations/create", {"title": "Talk", "model": model})
        if reply.status_code == 200:
            conversation, question = reply.json()["conversation_id"], f"q{reply.json()['conversation_id']}"
            reply = await self.client.post(f"/api/chat/{conversation}", {"message": question})
            if reply.status_code == 200:
                self.talks[conversation] = question
                if '"full_response"' in reply.text:
                    return True
                self.cut_off.add(conversation)
                return False
        self.refusals[reply.status_code, reply.json()["code"]] += 1
        return False

    async def _answers_to_come(self, conversation: int) -> list[Any]:
        async with asyncio.timeout(SOON):
            while len(history := await self.client.history(conversation)) < 2:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        return history[1:]

    async def audit(self, *, is_full: bool = False) -> None:
        documents = (await self.client.get("/api/rag/doc/list", params={"kb_id": self.id})).json()["docs"]
        assert {document["doc_id"] for document in documents} == set(self.papers)
        for word in self.papers.values():
            body = {"kb_id": self.id, "query": f"the word of this paper is {word}", "top_k": 5}
            found = (await self.client.post("/api/rag/retrieve", body)).json()["results"]
            assert any(word in passage["content"] for passage in found)
        for conversation, asked in self.talks.items():
            question, *answers = await self.client.history(conversation)
            assert question["content"] == asked
            if not answers and is_full and conversation in self.cut_off:
                continue  # its text waits for room
            (answer,) = answers or await self._answers_to_come(conversation)
            whole = "".join(counted(asked, WORDS))
            assert answer["content"] == whole or ("state" in answer and whole.startswith(answer["content"]))


@pytest.mark.timeout(300)
async def test_a_full_disk_is_said_to_be_full_and_nothing_is_lost_when_there_is_room_again(
    server: ServerProcess, small_disk: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(BALLAST))
    async with AsyncClient(base_url=server.url, timeout=SOON) as http:
        client = await Client(http).new_user()
        shelf = Shelf(client, await client.new_knowledge_base())
        await shelf.talk()
        await until_refused(shelf.upload)
        with filled(small_disk):
            assert not await shelf.upload()
            await until_refused(shelf.talk)  # files that are there already still have some room in them
            await until_refused(shelf.talk)
            await shelf.audit(is_full=True)
        (small_disk / "ballast").unlink()

        assert await shelf.upload()
        assert await shelf.talk()
        await shelf.audit()

    await killed(server)
    await started(server)
    async with AsyncClient(base_url=server.url, timeout=SOON) as http:
        shelf.client = Client(http, client.token)
        await shelf.audit()
        assert await shelf.upload()
    print(f"{len(shelf.papers)} documents, {len(shelf.talks)} answers, refused: {dict(shelf.refusals)}")  # noqa: T201
    assert set(shelf.refusals) <= REFUSALS
