"""What every chat model must keep."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, ChatTurn, Completion
from llm_backend.domain.answers import Delta
from llm_backend.domain.conversations import Role
from llm_backend.domain.errors import UpstreamFailed
from llm_backend.domain.text import is_storable

SOON = 10  # seconds; what takes longer hangs

T = TypeVar("T")


class GaveUpError(Exception):
    """What a reader of an answer raises that has had enough."""


def a_question(model: str, text: str = "What is a contract?", *, so_far: str = "") -> ChatRequest:
    return ChatRequest(model=model, turns=[ChatTurn(role=Role.USER, text=text)], so_far=so_far)


class ChatModelContract:
    """Answers come in order, and are given up when nobody wants them. Needs the fixtures `model`, whose answers must
    have two batches or more, and `name`: what it is to be asked as."""

    async def test_what_it_serves_passes_the_check(self, model: ChatModel, name: str) -> None:
        model.check(name, own_key=True)

    async def test_it_has_a_window(self, model: ChatModel, name: str) -> None:
        assert model.window(name) > 0

    async def test_it_hands_out_pieces_of_storable_text_and_says_how_it_ended(
        self, model: ChatModel, name: str
    ) -> None:
        batches: list[Sequence[Delta]] = []

        completion = await soon(model.answer(a_question(name), batches.append))

        assert isinstance(completion, Completion)
        assert len(batches) >= 2
        assert all(batches)
        assert all(piece.text and is_storable(piece.text) for batch in batches for piece in batch)

    async def test_what_is_there_of_an_answer_is_continued_and_not_repeated(self, model: ChatModel, name: str) -> None:
        whole = await said(model, name)

        for length in (1, len(whole) // 2, len(whole) - 1):
            assert await said(model, name, so_far=whole[:length]) == whole[length:]

    async def test_answers_at_the_same_time_do_not_mix(self, model: ChatModel, name: str) -> None:
        alone = await said(model, name)

        together = await asyncio.gather(*(said(model, name) for _ in range(3)))

        assert together == [alone] * 3

    async def test_an_error_of_the_reader_ends_the_answer_and_is_passed_on(self, model: ChatModel, name: str) -> None:
        batches: list[Sequence[Delta]] = []

        with pytest.raises(GaveUpError):
            await soon(model.answer(a_question(name), refusing(batches, after=1)))

        assert len(batches) == 1

    async def test_a_cancelled_answer_is_silent_at_once(self, model: ChatModel, name: str) -> None:
        began = asyncio.Event()
        batches: list[Sequence[Delta]] = []

        def emit(batch: Sequence[Delta]) -> None:
            batches.append(batch)
            began.set()
            answer.cancel()

        answer = asyncio.ensure_future(model.answer(a_question(name), emit))
        await asyncio.wait({answer}, timeout=SOON)

        assert began.is_set()
        assert answer.cancelled()
        assert len(batches) == 1

    async def test_after_an_answer_that_was_given_up_the_next_is_whole(self, model: ChatModel, name: str) -> None:
        whole = await said(model, name)
        with pytest.raises(GaveUpError):
            await soon(model.answer(a_question(name), refusing([], after=1)))

        assert await said(model, name) == whole


class FailingChatModelContract:
    """What fails says so, and keeps what was emitted. Needs the fixtures `failing` and `breaking`, which fail before
    and after a first piece, and `name`."""

    async def test_a_failure_before_the_answer_is_told(self, failing: ChatModel, name: str) -> None:
        batches: list[Sequence[Delta]] = []

        with pytest.raises(UpstreamFailed):
            await soon(failing.answer(a_question(name), batches.append))

        assert batches == []

    async def test_what_was_said_before_a_failure_stays_and_is_not_said_again(
        self, breaking: ChatModel, name: str
    ) -> None:
        first: list[Sequence[Delta]] = []
        second: list[Sequence[Delta]] = []

        for batches in (first, second):
            with pytest.raises(UpstreamFailed):
                await soon(breaking.answer(a_question(name), batches.append))

        assert joined(first)
        assert joined(first) == joined(second)


async def said(model: ChatModel, name: str, *, so_far: str = "") -> str:
    """The whole answer, or what comes after the text so far."""
    batches: list[Sequence[Delta]] = []
    await soon(model.answer(a_question(name, so_far=so_far), batches.append))
    return joined(batches)


def joined(batches: Sequence[Sequence[Delta]]) -> str:
    return "".join(piece.text for batch in batches for piece in batch)


def refusing(batches: list[Sequence[Delta]], *, after: int) -> Callable[[Sequence[Delta]], None]:
    """An `emit` that keeps some batches and raises `GaveUpError` at the next."""

    def emit(batch: Sequence[Delta]) -> None:
        if len(batches) == after:
            raise GaveUpError
        batches.append(batch)

    return emit


async def soon(answer: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wait_for(answer, SOON)
