"""Two replicas over one database and one Redis: an answer is followed wherever it is written."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import Delta, FullText
from llm_backend.domain.errors import AnswerInProgress
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.redis.stream_log import RedisStreamLog
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel
from tests.servers import RedisServer

SOON = 20  # seconds; what takes longer hangs
PIECES = 6


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def model() -> ScriptedChatModel:
    return ScriptedChatModel()


@pytest.fixture
async def replicas(redis: RedisServer, model: ScriptedChatModel, tmp_path: Path) -> AsyncIterator[list[Backend]]:
    store = MemoryStore()
    first, second = (replica(tmp_path / name, redis, store, model) for name in ("first", "second"))
    async with first as one, second as two:
        yield [one, two]


@asynccontextmanager
async def replica(
    folder: Path, redis: RedisServer, store: MemoryStore, model: ScriptedChatModel
) -> AsyncIterator[Backend]:
    settings = Settings.from_mapping(
        {
            "data_folder": str(folder),
            "database": {"url": "postgresql+asyncpg://shared.example/database"},  # `store` stands for it
            "redis": {"address": redis.address},
            "server": {"shutdown_grace": "0s"},
        }
    )
    index = MemoryPassageIndex()
    async with open_backend(settings, store=store, chat_model=model, passage_index=index) as backend:
        assert isinstance(backend.follow_answer.log, RedisStreamLog)
        yield backend


async def a_question(backend: Backend) -> tuple[UserId, ConversationId, AnswerId]:
    user = await backend.register_user("ada", "correct horse")
    conversation = (await backend.create_conversation(user, "Hello", "some-model")).id
    return user, conversation, await backend.send_message(user, conversation, "Hi")


async def told(backend: Backend, user: UserId, answer: AnswerId, after: int = 0) -> list[NumberedEvent]:
    async with asyncio.timeout(SOON):
        return [event async for batch in backend.follow_answer(user, answer, after=after) for event in batch]


async def test_an_answer_is_followed_on_both_and_resumed_after_any_number(
    replicas: list[Backend], model: ScriptedChatModel
) -> None:
    release = asyncio.Event()
    model.play_next(["Hel", "lo"], release, ", ", "world")
    here, there = replicas
    user, _, answer = await a_question(here)
    following = [asyncio.ensure_future(told(backend, user, answer)) for backend in (here, there, there)]
    async for _ in there.follow_answer(user, answer):
        break

    release.set()
    everything, *others = await asyncio.wait_for(asyncio.gather(*following), SOON)
    resumed = [await told(there, user, answer, after=number) for number in range(len(everything) + 1)]

    assert everything[-1][1] == FullText("Hello, world")
    assert others == [everything, everything]
    assert resumed == [everything[number:] for number in range(len(everything) + 1)]


async def test_questions_that_are_refused_leave_nothing_in_redis(
    replicas: list[Backend], model: ScriptedChatModel, redis: RedisServer
) -> None:
    model.play_next("Half an", FOREVER)
    here, there = replicas
    user, conversation, _ = await a_question(here)
    await model.asked()

    for backend in [here, there] * 5:
        with pytest.raises(AnswerInProgress):
            await backend.send_message(user, conversation, "And now?")
    async with asyncio.timeout(SOON):
        while True:
            if redis.say("KEYS llm_backend:answer:*").startswith(
                b"*1\r\n"
            ):  # that of the answer which is being written
                break
            await asyncio.sleep(0.01)


async def test_redis_may_go_and_come_in_mid_stream(
    replicas: list[Backend], model: ScriptedChatModel, redis: RedisServer
) -> None:
    gates = [asyncio.Event() for _ in range(PIECES)]
    model.play_next(*(step for number, gate in enumerate(gates) for step in (gate, f"{number} ")))
    here, there = replicas
    user, _, answer = await a_question(here)
    seen: list[NumberedEvent] = []

    async with asyncio.timeout(3 * SOON):
        gates[0].set()
        async for batch in there.follow_answer(user, answer):
            seen += batch
            if isinstance(batch[-1][1], FullText):
                break
            match len(seen):
                case 2:
                    redis.stop()
                case 4:
                    redis.start()
                case _:
                    pass
            gates[len(seen) % PIECES].set()

    assert [event for _, event in seen if isinstance(event, Delta)] == [Delta(f"{n} ") for n in range(PIECES)]
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert seen == await told(here, user, answer)


async def test_an_answer_is_stopped_from_another_replica(replicas: list[Backend], model: ScriptedChatModel) -> None:
    model.play_next("Half an", FOREVER)
    here, there = replicas
    user, conversation, _ = await a_question(here)
    await model.asked()

    assert await there.stop_answer(user, conversation)
    await asyncio.wait_for(model.idle(), SOON)

    assert model.cancelled == 1
