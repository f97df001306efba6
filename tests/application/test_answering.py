import asyncio
import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.ports.answer_journal import AnswerJournal, Part, Turn
from llm_backend.application.ports.chat_model import ChatModel, ChatRequest
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.usage import RecordUsage
from llm_backend.domain.answers import AnswerEvent, Continued, Delta, Done, Failed, FullText
from llm_backend.domain.conversations import Message, MessageState, Seam
from llm_backend.domain.errors import (
    AnswerInProgress,
    AnswerNotFound,
    ConversationNotFound,
    DatabaseUnavailable,
    InvalidMessage,
    MessageTooLong,
    ShuttingDown,
    StorageFull,
    TooManyStreams,
    UpstreamCutOff,
    UpstreamUnavailable,
)
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.domain.usage import PriceTable
from llm_backend.infrastructure.llm.fallback import FallbackChatModel
from llm_backend.infrastructure.llm.routed import Route, RoutedChatModel
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.testing.builders import a_conversation, a_turn, a_user
from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.contracts.store import given
from llm_backend.testing.faults import Faults, faults_at_every_call
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel, Step

MALLORY = UserId(666)


async def told(backend: Backend, user: UserId, answer: AnswerId, after: int = 0) -> list[AnswerEvent]:
    return [event async for batch in backend.follow_answer(user, answer, after=after) for _, event in batch]


async def history(backend: Backend, user: UserId, conversation: ConversationId) -> list[Message]:
    return list((await backend.read_history(user, conversation)).messages)


async def test_an_answer_is_followed_from_its_first_piece_to_its_full_text(
    backend: Backend, ada: UserId, conversation: ConversationId
) -> None:
    answer = await backend.send_message(ada, conversation, "Hi")

    events = await told(backend, ada, answer)

    assert events[:3] == [Delta("Hello"), Delta(","), Delta(" world")]
    assert isinstance(events[3], Done)
    assert events[4:] == [FullText("Hello, world")]


async def test_question_and_answer_are_in_the_history_once_the_answer_is_done(
    backend: Backend, ada: UserId, conversation: ConversationId
) -> None:
    await told(backend, ada, await backend.send_message(ada, conversation, "Hi"))

    question, answer = await history(backend, ada, conversation)

    assert (question.number, question.text) == (1, "Hi")
    assert (answer.number, answer.text, answer.state) == (2, "Hello, world", MessageState.COMPLETE)


async def test_an_answer_nobody_follows_is_written_all_the_same(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    await backend.send_message(ada, conversation, "Hi")
    await model.asked()

    await model.idle()
    await backend.drain()

    assert [message.text for message in await history(backend, ada, conversation)] == ["Hi", "Hello, world"]


async def test_a_reader_comes_back_to_the_very_next_event(
    backend: Backend, ada: UserId, conversation: ConversationId
) -> None:
    answer = await backend.send_message(ada, conversation, "Hi")
    everything = await told(backend, ada, answer)

    rests = [await told(backend, ada, answer, after=number) for number in range(len(everything) + 1)]

    assert rests == [everything[number:] for number in range(len(everything) + 1)]


async def test_the_model_is_told_what_was_said_before(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    await told(backend, ada, await backend.send_message(ada, conversation, "First"))
    await told(backend, ada, await backend.send_message(ada, conversation, "Second"))

    turns = model.requests[1].turns

    assert [(turn.role, turn.text) for turn in turns] == [
        ("user", "First"),
        ("assistant", "Hello, world"),
        ("user", "Second"),
    ]


async def test_a_second_question_has_to_wait_for_the_first_answer(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    release = asyncio.Event()
    model.play_next("Wait", release)
    answer = await backend.send_message(ada, conversation, "Hi")

    with pytest.raises(AnswerInProgress):
        await backend.send_message(ada, conversation, "Me too")
    release.set()
    await told(backend, ada, answer)
    await told(backend, ada, await backend.send_message(ada, conversation, "Now"))

    assert [message.number for message in await history(backend, ada, conversation)] == [1, 2, 3, 4]


class SlowToRefuse:
    """A journal that stores no question, when it is let go on."""

    def __init__(self, journal: AnswerJournal, error: Exception) -> None:
        self._journal = journal
        self._error = error
        self.go_on = asyncio.Event()

    async def begin(self, turn: Turn) -> AnswerId:
        del turn
        await self.go_on.wait()
        raise self._error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


@pytest.mark.parametrize(("error", "told"), [(AnswerInProgress(), 0), (ZeroDivisionError(), 1)])
async def test_of_what_nobody_waits_for_only_a_bug_is_told(
    error: Exception, told: int, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    told_to_the_loop: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told_to_the_loop.append(context))
    journal = SlowToRefuse(store.journal, error)
    runner = AnswerRunner(
        model=ScriptedChatModel(),
        journal=journal,
        leases=store.leases,
        log=MemoryStreamLog(),
        now=ManualClock(),
        record=RecordUsage(log=store.usage, prices=PriceTable(), now=ManualClock(), ids=CountingIds()),
    )
    async with runner:
        impatient = asyncio.create_task(runner.begin(a_turn(100), ChatRequest(model="m", turns=())))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait([impatient])
        journal.go_on.set()
    gc.collect()

    assert impatient.cancelled()
    assert told_to_the_loop == []
    assert len([record for record in caplog.records if record.exc_info]) == told


async def test_of_ten_questions_at_once_exactly_one_is_taken(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next(FOREVER)

    outcomes = await asyncio.gather(
        *(backend.send_message(ada, conversation, f"Question {n}") for n in range(10)), return_exceptions=True
    )

    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AnswerInProgress) for outcome in outcomes) == 9


async def test_a_stopped_answer_keeps_its_text_and_says_so(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next("Half an", FOREVER)
    answer = await backend.send_message(ada, conversation, "Hi")
    async for _ in backend.follow_answer(ada, answer):
        break

    assert await backend.stop_answer(ada, conversation)

    last = (await history(backend, ada, conversation))[-1]
    assert (last.text, last.state, last.reason) == ("Half an", MessageState.INCOMPLETE, "stopped")
    assert [event.code for event in await told(backend, ada, answer) if isinstance(event, Failed)] == ["stopped"]
    assert model.cancelled == 1
    assert not await backend.stop_answer(ada, conversation)


async def test_a_provider_that_breaks_off_leaves_its_text_marked(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next("Half an", UpstreamCutOff())
    answer = await backend.send_message(ada, conversation, "Hi")

    events = await told(backend, ada, answer)

    last = (await history(backend, ada, conversation))[-1]
    assert events == [Delta("Half an"), Failed("upstream_cut_off", str(UpstreamCutOff()))]
    assert (last.text, last.state, last.reason) == ("Half an", MessageState.INCOMPLETE, "upstream_cut_off")


@pytest.mark.parametrize("end", [None, UpstreamCutOff(), FOREVER])
async def test_where_another_model_went_on_is_on_the_message_however_the_answer_ends(
    settings: Settings, store: MemoryStore, end: Step | None
) -> None:
    other = ScriptedChatModel("Half an", " answer", *([] if end is None else [end]))
    async with open_backend(settings, store=store, chat_model=broken_off_for(other)) as backend:
        ada = await backend.register_user("ada", "correct horse")
        conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id
        answer = await backend.send_message(ada, conversation, "Hi")
        async for batch in backend.follow_answer(ada, answer):
            if isinstance(batch[-1][1], Continued):
                break
        if end is FOREVER:
            await backend.stop_answer(ada, conversation)
        events = await told(backend, ada, answer)

        last = (await history(backend, ada, conversation))[-1]

    seam = Seam(at=len("Half an"), model="other", reason="upstream_cut_off")
    assert events[:2] == [Delta("Half an"), Continued(" answer", seam)]
    assert (last.number, last.text, last.model, last.seams) == (2, "Half an answer", "some-model", (seam,))
    assert last.state is (MessageState.COMPLETE if end is None else MessageState.INCOMPLETE)


def broken_off_for(other: ChatModel) -> ChatModel:
    """It breaks off after two words, for which the other has the rest."""
    others = RoutedChatModel([Route(name="other", patterns=["other"], model=other)])
    model = ScriptedChatModel("Half an", UpstreamCutOff())
    return FallbackChatModel(model=model, fallbacks=["other"], others=others, total=timedelta(minutes=1))


async def test_a_process_that_dies_after_a_seam_leaves_it_on_the_message(
    settings: Settings, store: MemoryStore, model: ScriptedChatModel
) -> None:
    async with open_backend(settings, store=store, chat_model=model) as backend:
        ada = await backend.register_user("ada", "correct horse")
        conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id
    turn, seam = a_turn(owner=ada, conversation=conversation), Seam(at=4, model="other", reason="upstream_cut_off")
    await store.journal.begin(turn)
    await store.journal.checkpoint([Part(turn.answer.id, 1, [Delta("Half"), Continued(" an", seam)])])

    async with open_backend(settings, store=store, chat_model=model) as backend:
        last = (await history(backend, ada, conversation))[-1]

    assert (last.text, last.seams, last.reason) == ("Half an", (seam,), "interrupted")


async def test_a_failure_before_the_first_word_takes_the_question_back(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next(UpstreamUnavailable())
    answer = await backend.send_message(ada, conversation, "Hi")

    events = await told(backend, ada, answer)
    await told(backend, ada, await backend.send_message(ada, conversation, "Again"))

    assert events == [Failed("upstream_unavailable", str(UpstreamUnavailable()))]
    assert [(m.number, m.text) for m in await history(backend, ada, conversation)] == [
        (1, "Again"),
        (2, "Hello, world"),
    ]


async def test_a_bug_in_a_model_closes_the_answer_without_its_words(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next("Half an", ValueError("secret detail"))

    events = await told(backend, ada, await backend.send_message(ada, conversation, "Hi"))

    assert isinstance(events[-1], Failed)
    assert events[-1].code == "internal_error"
    assert "secret" not in events[-1].message


async def test_deleting_a_conversation_gives_up_its_answer(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next("Half an", FOREVER)
    answer = await backend.send_message(ada, conversation, "Hi")
    async for _ in backend.follow_answer(ada, answer):
        break

    await backend.delete_conversation(ada, conversation)

    assert model.cancelled == 1
    with pytest.raises(ConversationNotFound):
        await backend.read_history(ada, conversation)


async def test_the_same_key_means_the_same_answer(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")

    first = await backend.send_message(ada, conversation, "Hi", idempotency=key)
    second = await backend.send_message(ada, conversation, "Hi", idempotency=key)
    await told(backend, ada, first)

    assert second == first
    assert len(model.requests) == 1


async def test_somebody_else_can_neither_ask_follow_find_nor_stop(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next("Half an", FOREVER)
    answer = await backend.send_message(ada, conversation, "Hi")

    with pytest.raises(ConversationNotFound):
        await backend.send_message(MALLORY, conversation, "Hi")
    with pytest.raises(AnswerNotFound):
        await told(backend, MALLORY, answer)
    with pytest.raises(ConversationNotFound):
        await backend.find_answer(MALLORY, conversation)
    with pytest.raises(ConversationNotFound):
        await backend.stop_answer(MALLORY, conversation)
    assert model.cancelled == 0


@pytest.mark.parametrize("text", ["", "  \n", "a\x00b", "\ud800"])
async def test_a_question_that_cannot_be_stored_is_refused(
    backend: Backend, ada: UserId, conversation: ConversationId, text: str
) -> None:
    with pytest.raises(InvalidMessage):
        await backend.send_message(ada, conversation, text)


async def test_a_question_longer_than_the_window_is_refused(
    backend: Backend, ada: UserId, conversation: ConversationId
) -> None:
    with pytest.raises(MessageTooLong):
        await backend.send_message(ada, conversation, "word " * 100_000)


async def test_one_user_cannot_have_all_the_streams(backend: Backend, ada: UserId, model: ScriptedChatModel) -> None:
    for n in range(16):
        model.play_next(FOREVER)
        other = await backend.create_conversation(ada, f"Number {n}", "some-model")
        await backend.send_message(ada, other.id, "Hi")
    last = await backend.create_conversation(ada, "One too many", "some-model")

    with pytest.raises(TooManyStreams):
        await backend.send_message(ada, last.id, "Hi")


async def test_what_is_left_at_shutdown_is_stored_as_interrupted(
    settings: Settings, store: MemoryStore, backend: Backend, ada: UserId, model: ScriptedChatModel
) -> None:
    conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id
    model.play_next("Half an", FOREVER)
    answer = await backend.send_message(ada, conversation, "Hi")
    async for _ in backend.follow_answer(ada, answer):
        break

    await backend.drain()

    last = (await history(backend, ada, conversation))[-1]
    assert (last.text, last.reason) == ("Half an", "interrupted")
    with pytest.raises(ShuttingDown):
        await backend.send_message(ada, conversation, "More")


async def test_an_answer_whose_process_died_is_closed_with_what_was_stored(
    settings: Settings, store: MemoryStore, model: ScriptedChatModel
) -> None:
    async with open_backend(settings, store=store, chat_model=model) as backend:
        ada = await backend.register_user("ada", "correct horse")
        conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id
    turn = a_turn(owner=ada, conversation=conversation)
    await store.journal.begin(turn)
    await store.journal.checkpoint([Part(turn.answer.id, 1, [Delta("Half"), Delta(" an")])])

    async with open_backend(settings, store=store, chat_model=model) as backend:
        last = (await history(backend, ada, conversation))[-1]
        events = await told(backend, ada, turn.answer.id)
        after_lost_pieces = await told(backend, ada, turn.answer.id, after=57)

    assert (last.text, last.state, last.reason) == ("Half an", MessageState.INCOMPLETE, "interrupted")
    assert isinstance(events[-1], Failed)
    assert after_lost_pieces == events[-1:]


async def test_a_database_that_is_away_for_a_moment_costs_no_answer(
    settings: Settings, store: MemoryStore, model: ScriptedChatModel
) -> None:
    faults = Faults(error=DatabaseUnavailable, only={"finish"})
    async with open_backend(settings, store=faults.wrap(store), chat_model=model) as backend:
        ada = await backend.register_user("ada", "correct horse")
        conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id

        events = await told(backend, ada, await backend.send_message(ada, conversation, "Hi"))

        assert faults.struck
        assert events[-1] == FullText("Hello, world")
        assert (await history(backend, ada, conversation))[-1].text == "Hello, world"


async def test_stopping_does_not_wait_for_ever_for_a_database_that_takes_nothing(store: MemoryStore) -> None:
    full = Faults(error=StorageFull, only={"finish", "checkpoint"}, lasting=True)
    log = MemoryStreamLog()
    record = RecordUsage(log=store.usage, prices=PriceTable(), now=ManualClock(), ids=CountingIds())
    runner = AnswerRunner(
        model=ScriptedChatModel("some text", FOREVER),
        journal=full.wrap(store.journal),
        leases=store.leases,
        log=log,
        now=ManualClock(),
        record=record,
        store_patience=timedelta(0),
    )
    await given(store, a_user(1), a_conversation(10))
    async with runner:
        answer = await runner.begin(a_turn(100), ChatRequest(model="m", turns=()))

        with pytest.raises(StorageFull):
            await runner.stop(answer)

        full.lasting = False
    assert (await store.conversation_views.thread(UserId(1), ConversationId(10))).messages[-1].text == "some text"


async def test_a_question_that_could_not_be_stored_is_not_asked(
    settings: Settings, store: MemoryStore, model: ScriptedChatModel
) -> None:
    faults = Faults(error=DatabaseUnavailable, only={"begin"})
    async with open_backend(settings, store=faults.wrap(store), chat_model=model) as backend:
        ada = await backend.register_user("ada", "correct horse")
        conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id

        with pytest.raises(DatabaseUnavailable):
            await backend.send_message(ada, conversation, "Hi")

        assert model.requests == []
        assert await history(backend, ada, conversation) == []


async def test_nothing_is_written_beside_an_end_that_waits_for_the_database(
    tmp_path: Path, store: MemoryStore, model: ScriptedChatModel
) -> None:
    """The ticker, too, has what is unsaved in its hands."""
    settings = Settings.from_mapping({"data_folder": str(tmp_path), "answers": {"checkpoint_interval": "1ms"}})
    faults = Faults(error=DatabaseUnavailable, only={"finish"})
    async with open_backend(settings, store=faults.wrap(store), chat_model=model) as backend:
        ada = await backend.register_user("ada", "correct horse")
        conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id

        answer = await backend.send_message(ada, conversation, "Hi")
        events = await told(backend, ada, answer)

        assert faults.struck
        assert [event for _, event in await store.journal.events(answer)] == events


@pytest.mark.parametrize("afterwards", [False, True])
async def test_wherever_the_database_fails_once_there_is_one_answer_or_none(
    settings: Settings, model: ScriptedChatModel, afterwards: bool
) -> None:
    for faults in faults_at_every_call(
        DatabaseUnavailable, only={"begin", "checkpoint", "finish", "withdraw"}, afterwards=afterwards
    ):
        store = MemoryStore()
        async with open_backend(settings, store=faults.wrap(store), chat_model=model) as backend:
            ada = await backend.register_user("ada", "correct horse")
            conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id
            model.play_next("x" * 3000, "end")
            try:
                events = await told(backend, ada, await backend.send_message(ada, conversation, "Hi"))
            except DatabaseUnavailable:
                events = []
            await backend.drain()
            said = await history(backend, ada, conversation)

        assert [message.text for message in said] in ([], ["Hi", "x" * 3000 + "end"])
        assert bool(said) == bool(events)
        assert not await store.leases.open_answers()


async def test_a_repeat_in_the_moment_of_beginning_reads_the_same_answer(
    backend: Backend, ada: UserId, conversation: ConversationId
) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")

    answers = await asyncio.gather(*(backend.send_message(ada, conversation, "Hi", idempotency=key) for _ in range(5)))
    read = await asyncio.gather(*(told(backend, ada, answer) for answer in answers))

    assert len(set(answers)) == 1
    assert all(events[-1] == FullText("Hello, world") for events in read)


async def test_an_answer_that_nobody_writes_any_more_can_be_stopped(
    backend: Backend, store: MemoryStore, ada: UserId, conversation: ConversationId
) -> None:
    await store.journal.begin(a_turn(owner=ada, conversation=conversation))

    assert await backend.stop_answer(ada, conversation)

    await told(backend, ada, await backend.send_message(ada, conversation, "Next"))
    assert [message.number for message in await history(backend, ada, conversation)] == [1, 2, 3, 4]
