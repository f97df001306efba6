"""Somebody moves the clock an hour, forwards or back: nothing is taken for older or newer than it is."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.errors import CursorNotFound, Unauthenticated
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.security.passwords import Argon2Cost, Argon2Passwords
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.unit.shelves import ParagraphParser

HOUR = timedelta(hours=1)
TTL = timedelta(hours=2)
LEEWAY = timedelta(seconds=60)
PASSWORD = "correct horse"
KEY = IdempotencyKey(key="k", fingerprint="f")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def backend(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Backend]:
    """On SQLite."""
    settings = Settings.from_mapping(
        {"data_folder": str(tmp_path / "data"), "server": {"shutdown_grace": "0s"}, "jwt": {"ttl": "2h"}}
    )
    passwords = Argon2Passwords(Argon2Cost(time=1, memory=8))
    async with open_backend(
        settings,
        clock=clock,
        chat_model=ScriptedChatModel(),
        passwords=passwords,
        passage_index=MemoryPassageIndex(),
        parser=ParagraphParser(),
    ) as opened:
        yield opened
    passwords.close()


@pytest.fixture
async def ada(backend: Backend) -> UserId:
    return await backend.register_user("ada", PASSWORD)


async def read(backend: Backend, ada: UserId, answer: AnswerId) -> None:
    async for _ in backend.follow_answer(ada, answer):
        pass


both_ways = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forwards", "back"])


@both_ways
async def test_no_token_is_good_for_longer_than_its_time(
    jump: timedelta, backend: Backend, ada: UserId, clock: ManualClock
) -> None:
    token = await backend.log_in("ada", PASSWORD)
    end = clock() + TTL

    clock.set(clock() + jump)
    if jump > timedelta(0):
        await backend.authenticate(token)
    clock.set(end + LEEWAY)

    with pytest.raises(Unauthenticated):
        await backend.authenticate(token)


@both_ways
async def test_a_token_that_was_logged_out_stays_dead(
    jump: timedelta, backend: Backend, ada: UserId, clock: ManualClock
) -> None:
    token = await backend.log_in("ada", PASSWORD)
    await backend.log_out(await backend.authenticate(token))

    for _ in range(3):
        clock.set(clock() + jump)
        await backend.keep_house()
    clock.set(clock() - 3 * jump)

    with pytest.raises(Unauthenticated):
        await backend.authenticate(token)


@both_ways
async def test_messages_and_conversations_stay_in_the_order_in_which_they_came(
    jump: timedelta, backend: Backend, ada: UserId, clock: ManualClock
) -> None:
    made: list[ConversationId] = []
    for number in range(3):
        made.append((await backend.create_conversation(ada, f"Talk {number}", "some-model")).id)
        await read(backend, ada, await backend.send_message(ada, made[0], f"Question {number}"))
        clock.set(clock() + jump)

    history = (await backend.read_history(ada, made[0])).messages
    assert [message.number for message in history] == [1, 2, 3, 4, 5, 6]
    assert [message.text for message in history[::2]] == ["Question 0", "Question 1", "Question 2"]
    assert [summary.id for summary in await backend.list_conversations(ada)] == made[::-1]


@both_ways
async def test_a_key_goes_on_standing_for_what_was_done_under_it(
    jump: timedelta, backend: Backend, ada: UserId, clock: ManualClock
) -> None:
    conversation = (await backend.create_conversation(ada, "Talk", "some-model", idempotency=KEY)).id
    sending = IdempotencyKey(key="send", fingerprint="f")
    answer = await backend.send_message(ada, conversation, "Hi", idempotency=sending)
    await read(backend, ada, answer)

    clock.set(clock() + jump)
    await backend.keep_house()

    assert (await backend.create_conversation(ada, "Talk", "some-model", idempotency=KEY)).id == conversation
    assert await backend.send_message(ada, conversation, "Hi", idempotency=sending) == answer
    assert len((await backend.read_history(ada, conversation)).messages) == 2


@both_ways
async def test_a_running_answer_and_a_job_are_not_taken_away(
    jump: timedelta, backend: Backend, ada: UserId, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("The quick brown fox.")
    conversation = (await backend.create_conversation(ada, "Talk", "some-model")).id
    shelf = (await backend.create_knowledge_base(ada, "Shelf")).id

    answer = await backend.send_message(ada, conversation, "Hi")
    document = await backend.submit_document(ada, shelf, file, "notes.txt")
    clock.set(clock() + jump)
    await backend.keep_house()
    await read(backend, ada, answer)
    statuses = [status async for status in backend.follow_document(ada, document)]

    assert statuses[-1].document.state == "ready"
    assert [message.text for message in (await backend.read_history(ada, conversation)).messages] == [
        "Hi",
        "Hello, world",
    ]


async def test_pages_go_on_behind_what_was_deleted_for_a_day(backend: Backend, ada: UserId, clock: ManualClock) -> None:
    older, newer = [(await backend.create_conversation(ada, title, "some-model")).id for title in ("A", "B")]
    await backend.delete_conversation(ada, newer)
    await backend.keep_house()

    clock.set(clock() + 23 * HOUR)
    await backend.keep_house()
    within = await backend.list_conversations(ada, before=newer)
    clock.set(clock() + HOUR)
    await backend.keep_house()

    assert [summary.id for summary in within] == [older]
    with pytest.raises(CursorNotFound):
        await backend.list_conversations(ada, before=newer)
