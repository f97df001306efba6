"""Users, conversations, questions, hang-ups, deletions and restarts in any order, against a model of what is there.

`LLM_BACKEND_HISTORIES` sets how many histories are tried; by default a few, the same ones every time.
"""

import asyncio
import os
import shutil
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import Delta, Failed, FullText
from llm_backend.domain.errors import AnswerInProgress, ConversationNotFound, UsernameTaken
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.security.passwords import Argon2Cost, Argon2Passwords
from llm_backend.infrastructure.sql import migrate_sqlite
from llm_backend.testing.scripted_chat_model import ScriptedChatModel

T = TypeVar("T")
HISTORIES = int(os.environ.get("LLM_BACKEND_HISTORIES", "0"))
SOON = 60.0  # seconds
FIRST, REST = "one ", "two"
Said = tuple[str, str | None]  # a text, and why it ends early


@dataclass(slots=True)
class Talk:
    """What must be in a conversation."""

    owner: UserId
    id: ConversationId
    said: list[Said] = field(default_factory=list)
    running: "Running | None" = None
    deleted: bool = False


@dataclass(slots=True)
class Running:
    """An answer whose model waits for `go_on`, and how far somebody has read it."""

    answer: AnswerId
    go_on: asyncio.Event
    read: int


class Histories(RuleBasedStateMachine):
    users = Bundle("users")
    talks = Bundle("talks")
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(mkdtemp(prefix="llm-backend-histories-"))
        (self.folder / "data").mkdir()
        shutil.copy(self.template, self.folder / "data" / "llm_backend.db")
        self.passwords = Argon2Passwords(Argon2Cost(time=1, memory=8))
        self.index = MemoryPassageIndex()
        self.expected: list[Talk] = []
        self.names: set[str] = set()
        self.do(self._open())

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.passwords.close()
        self.runner.close()
        shutil.rmtree(self.folder)

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(what, SOON))

    async def _open(self) -> None:
        settings = Settings.from_mapping({"data_folder": str(self.folder / "data"), "server": {"shutdown_grace": "0s"}})
        self.model = ScriptedChatModel(FIRST, REST)
        self.stack = AsyncExitStack()
        backend = open_backend(settings, chat_model=self.model, passwords=self.passwords, passage_index=self.index)
        self.backend: Backend = await self.stack.enter_async_context(backend)

    # Users and conversations -----------------------------------------------------------------------------------------

    @initialize(target=users)
    def two_users(self) -> Any:
        self.names |= {"ada", "bob"}
        return multiple(*(self.do(self.backend.register_user(name, "correct horse")) for name in ("ada", "bob")))

    @rule(name=st.sampled_from(["ada", "bob", "eve"]), target=users)
    def register(self, name: str) -> Any:
        if name in self.names:
            with pytest.raises(UsernameTaken):
                self.do(self.backend.register_user(name, "another horse"))
            return multiple()
        self.names.add(name)
        return self.do(self.backend.register_user(name, "correct horse"))

    @rule(owner=users, target=talks)
    def begin_a_conversation(self, owner: UserId) -> Talk:
        made = self.do(self.backend.create_conversation(owner, "Talk", "some-model"))
        self.expected.append(Talk(owner, made.id))
        return self.expected[-1]

    @rule(talk=consumes(talks))
    def delete_a_conversation(self, talk: Talk) -> None:
        self.do(self.backend.delete_conversation(talk.owner, talk.id))
        talk.deleted, talk.running = True, None
        self.expected.remove(talk)
        with pytest.raises(ConversationNotFound):
            self.do(self.backend.read_history(talk.owner, talk.id))

    @rule(talk=talks, stranger=users)
    def ask_as_a_stranger(self, talk: Talk, stranger: UserId) -> None:
        if stranger != talk.owner:
            with pytest.raises(ConversationNotFound):
                self.do(self.backend.send_message(stranger, talk.id, "Let me in"))

    # Questions -------------------------------------------------------------------------------------------------------

    @rule(talk=talks, text=st.text('aé世🌍\n "', min_size=1, max_size=5).filter(str.strip))
    def ask(self, talk: Talk, text: str) -> None:
        if talk.running:
            with pytest.raises(AnswerInProgress):
                self.do(self.backend.send_message(talk.owner, talk.id, text))
            return
        answer = self.do(self.backend.send_message(talk.owner, talk.id, text))
        assert _text(self.do(self._read(talk.owner, answer))) == FIRST + REST
        talk.said += [(text, None), (FIRST + REST, None)]

    @rule(talk=talks)
    def ask_and_hang_up(self, talk: Talk) -> None:
        if not talk.running:
            talk.running = self.do(self._begin_and_leave(talk))
            talk.said.append(("And?", None))

    @rule(talk=talks)
    def come_back(self, talk: Talk) -> None:
        if running := talk.running:
            running.go_on.set()
            events = self.do(self._read(talk.owner, running.answer, after=running.read))
            assert [number for number, _ in events] == list(range(running.read + 1, running.read + 1 + len(events)))
            assert _text(events) == REST
            assert events[-1][1] == FullText(FIRST + REST)
            talk.said.append((FIRST + REST, None))
            talk.running = None

    @rule(talk=talks)
    def stop(self, talk: Talk) -> None:
        stopped = self.do(self.backend.stop_answer(talk.owner, talk.id))
        assert stopped is (talk.running is not None)
        self._end(talk, "stopped")

    @rule()
    def restart(self) -> None:
        self.do(self.stack.aclose())
        self.do(self._open())
        for talk in self.expected:
            self._end(talk, "interrupted")

    def _end(self, talk: Talk, reason: str) -> None:
        if running := talk.running:
            events = self.do(self._read(talk.owner, running.answer, after=running.read))
            assert [event.code for _, event in events if isinstance(event, Failed)] == [reason]
            talk.said.append((FIRST, reason))
            talk.running = None

    async def _begin_and_leave(self, talk: Talk) -> Running:
        go_on = asyncio.Event()
        self.model.play_next(FIRST, go_on, REST)
        answer = await self.backend.send_message(talk.owner, talk.id, "And?")
        events = self.backend.follow_answer(talk.owner, answer)
        batch = await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        assert _text(batch) == FIRST
        return Running(answer, go_on, batch[-1][0])

    async def _read(self, owner: UserId, answer: AnswerId, after: int = 0) -> list[NumberedEvent]:
        return [event async for batch in self.backend.follow_answer(owner, answer, after=after) for event in batch]

    # What holds at all times -----------------------------------------------------------------------------------------

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        for owner in {talk.owner for talk in self.expected}:
            listed = [summary.id for summary in self.do(self.backend.list_conversations(owner))]
            assert listed == [talk.id for talk in reversed(self.expected) if talk.owner == owner]
        for talk in self.expected:
            messages = self.do(self.backend.read_history(talk.owner, talk.id)).messages
            assert [message.number for message in messages] == list(range(1, len(messages) + 1))
            assert [(message.text, message.reason) for message in messages] == talk.said


def _text(events: "list[NumberedEvent] | Any") -> str:
    return "".join(event.text for _, event in events if isinstance(event, Delta))


@pytest.mark.timeout(600)
def test_any_history_leaves_what_it_should(tmp_path: Path) -> None:
    Histories.template = tmp_path / "template.db"
    asyncio.run(migrate_sqlite(Histories.template))
    bounds = settings(
        max_examples=HISTORIES or 12,
        stateful_step_count=20,
        derandomize=not HISTORIES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    machine = Histories.TestCase
    machine.settings = bounds
    machine().runTest()
