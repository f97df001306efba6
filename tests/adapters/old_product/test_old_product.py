"""The old product's SQLite and Redis, with everything in them that years of use may leave."""

import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from llm_backend.application.ports.old_product import OldConversation, OldDataUnusable, OldMessage, OldUser, Unreadable
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.old_product.database import OldDatabase
from llm_backend.infrastructure.old_product.messages import OldMessages
from llm_backend.infrastructure.old_product.reading import StoredOldProduct
from tests.old_product import HASH, make_old_database, old_record
from tests.servers import RedisServer, free_port


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "llm_backend.db"


@pytest.fixture
def redis(empty_redis: RedisServer) -> Redis:
    return Redis(port=empty_redis.port)


@pytest.fixture
async def messages(empty_redis: RedisServer) -> AsyncIterator[OldMessages]:
    async with OldMessages.open(empty_redis.address) as messages:
        yield messages


def write(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def users(file: Path, messages: OldMessages) -> list[OldUser | Unreadable]:
    return [user async for user in StoredOldProduct(OldDatabase(file), messages).users()]


async def conversations(file: Path, messages: OldMessages) -> list[OldConversation | Unreadable]:
    return [one async for one in StoredOldProduct(OldDatabase(file), messages).conversations()]


async def test_users_come_in_their_order_with_their_hashes(file: Path, messages: OldMessages) -> None:
    make_old_database(file, users=[(1, "ada", HASH), (2, "李雷", HASH)])

    assert await users(file, messages) == [
        OldUser(id=1, username="ada", password=HASH),
        OldUser(id=2, username="李雷", password=HASH),
    ]


@pytest.mark.parametrize("password", ["", "plain text", HASH[:-1], HASH.replace("$10$", "$31$"), 7, b"\xff"])
async def test_a_user_without_a_hash_that_can_be_verified_is_told_apart(
    file: Path, messages: OldMessages, password: object
) -> None:
    make_old_database(file, users=[(1, "ada", password), (2, "bob", HASH)])

    first, second = await users(file, messages)

    assert isinstance(first, Unreadable)
    assert second == OldUser(id=2, username="bob", password=HASH)


async def test_a_conversation_comes_from_both_stores(file: Path, messages: OldMessages, redis: Redis) -> None:
    make_old_database(file, conversations=[("329629", "About Rust", 1, 1731851729)])
    redis.set("conversation:329629", old_record(329629, "system: Be nice", "user: 介绍一下RUST", "assistant: Rust 是"))

    assert await conversations(file, messages) == [
        OldConversation(
            id="329629",
            owner=1,
            title="About Rust",
            model="gpt-4o",
            api_key=Secret("sk-old"),
            created_at=datetime(2024, 11, 17, 13, 55, 29, tzinfo=UTC),
            messages=[
                OldMessage(role="system", text="Be nice"),
                OldMessage(role="user", text="介绍一下RUST"),
                OldMessage(role="assistant", text="Rust 是"),
            ],
        )
    ]


async def test_an_older_version_has_fewer_columns_and_a_list_of_messages(
    file: Path, messages: OldMessages, redis: Redis
) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE conversations (id TEXT PRIMARY KEY, title TEXT, user_id INTEGER)")
        connection.execute("INSERT INTO conversations VALUES ('5', 'Old', 1)")
    record = {"conversation_id": 5, "title": "Old", "messages": [], "created_time": "2024-11-17T21:55:29+08:00"}
    redis.set("conversation:5", json.dumps(record))
    redis.rpush("conversation:5:messages", *(json.dumps({"role": "user", "content": text}) for text in "ab"))

    (found,) = await conversations(file, messages)

    assert isinstance(found, OldConversation)
    assert [message.text for message in found.messages] == ["a", "b"]
    assert (found.model, found.api_key) == (None, None)
    assert found.created_at == datetime(2024, 11, 17, 13, 55, 29, tzinfo=UTC)


BROKEN: Sequence[object] = [b"no json", b"[]", b"\xff\xfe", b'{"a":' * 5000, b"null", b""]


@pytest.mark.parametrize("content", BROKEN)
async def test_what_makes_no_sense_is_told_and_the_rest_is_read(
    file: Path, messages: OldMessages, redis: Redis, content: bytes
) -> None:
    make_old_database(file, conversations=[("1", "Broken", 1, 1), ("2", "Well", 1, 1)])
    redis.set("conversation:1", content)
    redis.set("conversation:2", old_record(2, "user: Hi"))

    first, second = await conversations(file, messages)

    assert isinstance(first, Unreadable)
    assert first.what == "conversation 1"
    assert isinstance(second, OldConversation)


async def test_what_is_in_one_store_only_is_told(file: Path, messages: OldMessages, redis: Redis) -> None:
    make_old_database(file, conversations=[("1", "Not in Redis", 1, 1), ("2", "Of another kind", 1, 1)])
    redis.hset("conversation:2", "a", "b")
    redis.set("conversation:3", old_record(3, "user: Hi"))
    redis.set("jwt:abc", "{}")

    told = await conversations(file, messages)

    what = [one.what for one in told if isinstance(one, Unreadable)]
    assert what == ["conversation 1", "conversation 2", "conversation '3'"]
    assert len(told) == 3


async def test_messages_that_make_no_sense_are_counted_and_left_out(
    file: Path, messages: OldMessages, redis: Redis
) -> None:
    make_old_database(file, conversations=[("1", "Odd", 1, 1)])
    odd = [{"role": "user", "content": "Hi"}, 7, None, {"role": 1, "content": "x"}, {"role": "user"}]
    redis.set("conversation:1", json.dumps({"messages": odd, "title": 8, "model": [], "api_key": {}}))

    remark, found = await conversations(file, messages)

    assert isinstance(remark, Unreadable)
    assert "4 of its messages" in remark.why
    assert isinstance(found, OldConversation)
    assert [message.text for message in found.messages] == ["Hi"]


@pytest.mark.parametrize("when", [True, -1, 2**62, "soon", 1.5, None, "99999999999999999999"])
async def test_a_time_that_makes_no_sense_is_none(
    file: Path, messages: OldMessages, redis: Redis, when: object
) -> None:
    make_old_database(file, conversations=[("1", "Odd", 1, when if when is not True else None)])
    redis.set("conversation:1", json.dumps({"messages": [{"role": "user", "content": "Hi"}], "created_time": when}))

    (found,) = await conversations(file, messages)

    assert isinstance(found, OldConversation)
    assert found.created_at is None


@pytest.mark.parametrize("content", [None, b"no database at all, but long enough to be one" * 100, b""])
async def test_a_file_that_is_no_old_database_is_unusable(
    file: Path, messages: OldMessages, content: bytes | None
) -> None:
    write(file, content)

    with pytest.raises(OldDataUnusable, match="no database of the old product"):
        await users(file, messages)

    assert read(file.parent) == ({} if content is None else {file.name: content})


async def test_a_redis_that_is_away_is_unusable_and_a_wrong_address_too(file: Path) -> None:
    make_old_database(file, conversations=[("1", "Well", 1, 1)])

    async with OldMessages.open(f"127.0.0.1:{free_port()}") as messages:
        with pytest.raises(OldDataUnusable, match="cannot be read"):
            await conversations(file, messages)
    with pytest.raises(OldDataUnusable, match="no address"):
        async with OldMessages.open("http://127.0.0.1"):
            pass


async def test_reading_changes_nothing(file: Path, messages: OldMessages, redis: Redis) -> None:
    make_old_database(file, users=[(1, "ada", HASH)], conversations=[("1", "Well", 1, 1)])
    redis.set("conversation:1", old_record(1, "user: Hi"))
    before = read(file.parent)

    await users(file, messages)
    await conversations(file, messages)

    assert read(file.parent) == before
    assert redis.keys() == [b"conversation:1"]
