"""The house is moved from the command line, as operators do it: to another database, into a backup and back."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.forks import completed
from tests.http.clients import PASSWORD, Client
from tests.live import START_TIMEOUT, ServerProcess
from tests.servers import PostgresCluster
from tests.system.processes import NewServer, connected, started, terminated
from tests.system.streams import answered
from tests.upstream import Upstream

MANY = 3000  # messages, so that copying takes several pages
KEY = "sk-of-a-conversation"
WAITING = bytes(range(256)) * 10_000  # an upload that nobody has read yet, of several pieces


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        yield cluster


class Household(NamedTuple):
    """What a user has."""

    conversation: int
    knowledge_base: str
    history: list[dict[str, object]]


async def furnished(server: ServerProcess) -> Household:
    async with connected(server) as client:
        alice = await client.new_user("alice")
        conversation = await alice.new_conversation(model="ok:tokens=3", api_key=KEY)
        assert (await answered(alice, conversation)).status_code == 200
        shelf = await alice.new_knowledge_base()
        await alice.new_document(shelf)
        return Household(conversation, shelf, await alice.history(conversation))


async def assert_all_there(server: ServerProcess, household: Household, upstream: Upstream) -> None:
    async with connected(server) as client:
        login = await client.post("/api/users/login", {"username": "alice", "password": PASSWORD})
        alice = Client(client.http, login.json()["token"])
        assert await alice.history(household.conversation) == household.history
        upstream.requests.clear()
        assert (await answered(alice, household.conversation)).status_code == 200
        assert upstream.requests[-1].headers["authorization"] == f"Bearer {KEY}"
        found = await alice.post("/api/rag/retrieve", {"kb_id": household.knowledge_base, "query": "不可抗力条款"})
        assert "不可预见" in found.text
        assert (await client.get("/readyz")).json()["status"] == "ok"


def configured(folder: Path, name: str, url: str = "", *, pool_max: int = 12) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(f'data_folder: "{folder / name}"\ndatabase: {{url: "{url}", pool_max: {pool_max}}}\n')
    return file


async def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(completed, *map(str, arguments), cwd=Path.cwd())


async def succeeded(*arguments: object) -> str:
    done = await run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def killed_when(line: str, *arguments: object) -> None:
    """A command that is ended as by a power cut as soon as it has written a line that begins like that."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llm_backend",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(START_TIMEOUT):
        while not (await process.stdout.readline()).decode().strip().startswith(line):
            assert not process.stdout.at_eof()
        process.kill()
        assert await process.wait() == -signal.SIGKILL


def with_many_messages(database: Path, conversation: int) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany(
            "INSERT INTO messages (conversation_id, number, role, text, state, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (conversation, number, "user", f"{number} " * 500, "complete", "2026-03-01 12:00:00.000000+00:00")
                for number in range(3, MANY)
            ],
        )
        connection.execute("UPDATE conversations SET last_number = ?", [MANY - 1])


def with_an_upload_that_waits(folder: Path) -> None:
    (folder / "originals").mkdir(exist_ok=True)
    (folder / "originals" / "an-upload").write_bytes(WAITING)


def upload_that_waits(folder: Path) -> bytes:
    return (folder / "originals" / "an-upload").read_bytes()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def sums(output: str) -> list[str]:
    return [line for line in output.splitlines() if " rows, " in line]


async def test_there_and_back_with_a_kill_on_each_way(
    cluster: PostgresCluster, new_server: NewServer, config: str, upstream: Upstream, tmp_path: Path
) -> None:
    server = await started(new_server(config))
    household = await furnished(server)
    assert await terminated(server) == 0
    with_many_messages(tmp_path / "data" / "llm_backend.db", household.conversation)
    with_an_upload_that_waits(tmp_path / "data")
    here, there, back = (
        configured(tmp_path, name, url) for name, url in (("data", ""), ("there", cluster.url()), ("back", ""))
    )

    await killed_when("users", "migrate-store", "--from", here, "--to", there)
    refused = await run("serve", "--config", there, "--port", "0")
    first = await succeeded("migrate-store", "--from", here, "--to", there)
    await killed_when("conversations", "migrate-store", "--from", there, "--to", back)
    second = await succeeded("migrate-store", "--from", there, "--to", back)

    assert refused.returncode == 1
    assert "was cut off" in refused.stderr
    assert "An earlier attempt was cut off" in first
    assert sums(first) == sums(second)
    assert upload_that_waits(tmp_path / "back") == WAITING
    assert any(line.split()[:2] == ["messages", str(MANY - 1)] for line in sums(first))
    moved = new_server(config, environment={"LLM_BACKEND__DATA_FOLDER": str(tmp_path / "back")})
    async with connected(await started(moved)) as client:
        login = await client.post("/api/users/login", {"username": "alice", "password": PASSWORD})
        history = await Client(client.http, login.json()["token"]).history(household.conversation)
        assert (history[:2], len(history)) == (household.history, MANY - 1)


async def test_a_store_is_moved_with_as_few_connections_as_there_may_be(
    cluster: PostgresCluster, new_server: NewServer, config: str, tmp_path: Path
) -> None:
    few = {"LLM_BACKEND__DATABASE__URL": cluster.url(), "LLM_BACKEND__DATABASE__POOL_MAX": "3"}
    server = await started(new_server(config, environment=few))
    async with connected(server) as client:
        await client.new_user("alice")
    assert await terminated(server) == 0
    here, there = configured(tmp_path, "here", cluster.url(), pool_max=3), configured(tmp_path, "there")

    moved = await succeeded("migrate-store", "--from", here, "--to", there)

    assert any(line.split()[:2] == ["users", "1"] for line in sums(moved))
    await succeeded("migrate", "--config", there)  # which is refused while a move is unfinished


async def test_a_store_that_is_served_is_not_moved(
    cluster: PostgresCluster, new_server: NewServer, config: str, tmp_path: Path
) -> None:
    environment = {"LLM_BACKEND__DATABASE__URL": cluster.url()}
    embedded = await started(new_server(config))
    here, scaled, elsewhere = (
        configured(tmp_path, name, url) for name, url in (("data", ""), ("there", cluster.url()), ("elsewhere", ""))
    )

    of_one = await run("migrate-store", "--from", here, "--to", elsewhere)
    await terminated(embedded)
    await started(new_server(config, environment=environment))
    of_many = await run("migrate-store", "--from", scaled, "--to", elsewhere)

    assert (of_one.returncode, of_many.returncode) == (1, 1)
    assert "is in use by another server" in of_one.stderr
    assert "A server is at work on PostgreSQL at 127.0.0.1" in of_many.stderr
    assert "Traceback" not in of_one.stderr + of_many.stderr


async def test_a_backup_beside_a_server_at_work_comes_back_in_either_kind_of_database(
    cluster: PostgresCluster, new_server: NewServer, config: str, upstream: Upstream, tmp_path: Path
) -> None:
    server = await started(new_server(config))
    household = await furnished(server)
    archive = tmp_path / "backup.tar.gz"
    here, scaled = configured(tmp_path, "data"), configured(tmp_path, "scaled", cluster.url())

    saved = await succeeded("backup", "--config", here, "--to", archive, "--with-keys")
    await terminated(server)
    await succeeded("restore", "--config", scaled, "--from", archive)
    environment = {"LLM_BACKEND__DATABASE__URL": cluster.url(), "LLM_BACKEND__DATA_FOLDER": str(tmp_path / "scaled")}
    server = await started(new_server(config, environment=environment))
    await assert_all_there(server, household, upstream)
    second = tmp_path / "second.tar.gz"
    await succeeded("backup", "--config", scaled, "--to", second, "--with-keys")
    await terminated(server)
    restored = configured(tmp_path, "restored")
    await succeeded("restore", "--config", restored, "--from", second)
    again = await run("restore", "--config", restored, "--from", second)

    assert "secrets.keys is in it" in saved
    assert again.returncode == 1
    assert "must be empty" in again.stderr
    server = await started(new_server(config, environment={"LLM_BACKEND__DATA_FOLDER": str(tmp_path / "restored")}))
    async with connected(server) as client:
        login = await client.post("/api/users/login", {"username": "alice", "password": PASSWORD})
        history = await Client(client.http, login.json()["token"]).history(household.conversation)
        assert history[:2] == household.history


async def test_a_backup_without_keys_says_what_else_to_keep_and_holds_none(
    new_server: NewServer, config: str, tmp_path: Path
) -> None:
    server = await started(new_server(config))
    await furnished(server)
    folder = tmp_path / "backups"
    folder.mkdir()

    said = await succeeded("backup", "--config", configured(tmp_path, "data"), "--to", folder)

    (archive,) = folder.iterdir()
    assert archive.name.endswith(".tar.gz")
    assert str(tmp_path / "data" / "secrets.keys") in said
    assert str(tmp_path / "data" / "jwt.secret") in said
    with tarfile.open(archive) as opened:
        assert not [name for name in opened.getnames() if name.startswith("keys/")]


async def test_a_damaged_backup_is_refused_and_leaves_the_store_empty(
    new_server: NewServer, config: str, tmp_path: Path
) -> None:
    server = await started(new_server(config))
    await furnished(server)
    archive = tmp_path / "backup.tar.gz"
    await succeeded("backup", "--config", configured(tmp_path, "data"), "--to", archive)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])

    done = await run("restore", "--config", configured(tmp_path, "restored"), "--from", archive)

    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert "restored" not in names_in(tmp_path)


async def test_a_restore_that_was_killed_goes_on(new_server: NewServer, config: str, tmp_path: Path) -> None:
    server = await started(new_server(config))
    household = await furnished(server)
    await terminated(server)
    with_many_messages(tmp_path / "data" / "llm_backend.db", household.conversation)
    with_an_upload_that_waits(tmp_path / "data")
    archive, restored = tmp_path / "backup.tar.gz", configured(tmp_path, "restored")
    await succeeded("backup", "--config", configured(tmp_path, "data"), "--to", archive)

    await killed_when("From ", "restore", "--config", restored, "--from", archive)
    done = await succeeded("restore", "--config", restored, "--from", archive)

    assert f"messages               {MANY - 1} rows" in done
    assert upload_that_waits(tmp_path / "restored") == WAITING
