from datetime import UTC, datetime

import pytest

from llm_backend.domain.conversations import Message, Role
from llm_backend.domain.errors import MessageTooLong
from llm_backend.domain.window import estimated_tokens, fitting

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def said(number: int, text: str) -> Message:
    role = Role.USER if number % 2 else Role.ASSISTANT
    return Message(number=number, role=role, text=text, created_at=NOON)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("word", 1), ("words", 2), ("不可抗力", 4), ("不可抗力 clause", 6)],
)
def test_a_guess_counts_wide_characters_one_by_one_and_others_in_fours(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens


def test_everything_fits_a_large_window_in_order() -> None:
    past = [said(1, "a"), said(2, "b")]

    kept = fitting(past, said(3, "c"), window=8000)

    assert [message.number for message in kept] == [1, 2, 3]


def test_the_oldest_are_left_out_first_and_no_answer_leads() -> None:
    past = [said(1, "a" * 400), said(2, "b" * 40), said(3, "c" * 40), said(4, "d" * 40)]

    kept = fitting(past, said(5, "e"), window=80)

    assert [message.number for message in kept] == [3, 4, 5]


def test_messages_without_text_are_left_out() -> None:
    past = [said(1, "a"), said(2, "")]

    kept = fitting(past, said(3, "c"), window=8000)

    assert [message.number for message in kept] == [1, 3]


def test_a_question_that_fills_the_window_alone_is_refused() -> None:
    with pytest.raises(MessageTooLong):
        fitting([], said(1, "x" * 4000), window=1000)


def test_instructions_take_their_room_from_the_past() -> None:
    past = [said(1, "a" * 200), said(2, "b" * 200)]

    assert len(fitting(past, said(3, "c"), window=1000)) == 3
    assert len(fitting(past, said(3, "c"), window=1000, taken=700)) == 1
