"""Users of the old product go on where they were: with their passwords, their history and their keys."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import bcrypt
import pytest
from redis import Redis

from tests.http.clients import Client
from tests.old_product import PASSWORD, make_old_database, old_record
from tests.servers import RedisServer
from tests.system.processes import NewServer, connected, started
from tests.system.streams import answered
from tests.system.test_moving import configured, run, succeeded
from tests.upstream import Upstream


@pytest.fixture
def old(empty_redis: RedisServer, tmp_path: Path) -> Iterator[list[str]]:
    """What names the data of the old product to the command."""
    file = tmp_path / "old.db"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, b"2a")).decode()
    make_old_database(
        file,
        users=[(1, "john_doe", hashed), (2, "jane", hashed), (3, "broken", "plain text")],
        conversations=[("329629", "Rust", 1, 1731851729), ("0", "Of zero", 2, 1731851730), ("7", "Lost", 1, 5)],
    )
    with closing(Redis(port=empty_redis.port)) as redis:
        said = ["system: Be nice", "user: 介绍一下RUST", "assistant: Rust 是一种系统编程语言"]
        redis.set("conversation:329629", old_record(329629, *said, model="ok:tokens=1", api_key="sk-of-john"))
        redis.set("conversation:0", old_record(0, "system: Be nice", "user: Hello", model="demo"))
        yield ["--sqlite", str(file), "--redis", empty_redis.address]


async def logged_in(client: Client, name: str, password: str = PASSWORD) -> Client:
    login = await client.post("/api/users/login", {"username": name, "password": password})
    assert login.status_code == 200, login.text
    return Client(client.http, login.json()["token"])


def stored_passwords(tmp_path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(tmp_path / "data" / "llm_backend.db")) as connection:
        return dict(connection.execute("SELECT username, password FROM users").fetchall())


async def test_users_log_in_with_their_old_passwords_and_see_their_history(
    old: list[str], new_server: NewServer, config: str, upstream: Upstream, tmp_path: Path
) -> None:
    server = await started(new_server(config))
    here = configured(tmp_path, "data")

    counted = await succeeded("import-old", "--config", here, *old, "--dry-run")
    first = await succeeded("import-old", "--config", here, *old)
    second = await succeeded("import-old", "--config", here, *old)

    assert "Nothing was changed" in counted
    for said in ("users                  2", "conversations          2", "messages               5", "API keys"):
        assert said in counted
        assert said in first
    assert "users                  0 (2 were here already)" in second
    assert "conversations          0 (2 were here already)" in second
    assert "user 3 ('broken')" in first
    assert "conversation 7: it is not in Redis" in first
    assert "sk-of-john" not in counted + first + second
    assert all(stored.startswith("$2a$") for stored in stored_passwords(tmp_path).values())

    async with connected(server) as client:
        wrong = await client.post("/api/users/login", {"username": "john_doe", "password": "wrong"})
        john = await logged_in(client, "john_doe")
        assert wrong.status_code == 401
        assert [(one["message_id"], one["role"], one["content"]) for one in await john.history(329629)] == [
            (1, "user", "介绍一下RUST"),
            (2, "assistant", "Rust 是一种系统编程语言"),
        ]
        upstream.requests.clear()
        assert (await answered(john, 329629)).status_code == 200
        assert upstream.requests[-1].headers["authorization"] == "Bearer sk-of-john"
        assert [one["message_id"] for one in await john.history(329629)] == [1, 2, 3, 4]
        assert stored_passwords(tmp_path)["john_doe"].startswith("$argon2id$")
        await logged_in(client, "john_doe")

        jane = await logged_in(client, "jane")
        (listed,) = (await jane.get("/api/conversations/list")).json()
        assert (listed["title"], listed["created_time"]) == ("Of zero", 1731851730)
        assert listed["conversation_id"] > 0
        assert (await jane.get("/api/conversations/history/329629")).status_code == 404


async def test_data_that_is_not_there_ends_the_command_without_a_traceback(old: list[str], tmp_path: Path) -> None:
    old[1] = str(tmp_path / "nowhere.db")

    done = await run("import-old", "--config", configured(tmp_path, "data"), *old)

    assert done.returncode == 1
    assert "nowhere.db is no database of the old product" in done.stderr
    assert "Traceback" not in done.stderr
