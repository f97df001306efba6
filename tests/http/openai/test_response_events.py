"""Streams of responses that were interrupted: whatever number a reader has seen last, it hears of the end."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import INTERRUPTED, INTERRUPTION_GAP, Answer, Delta, Done, Failed, FullText
from llm_backend.domain.conversations import Message, Role
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.domain.responses import Response, ResponseRequest
from llm_backend.interface.http.openai.response_events import ResponseEvents

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STORED: list[NumberedEvent] = [(number, Delta("w ")) for number in range(1, 7)]
CLOSED: list[NumberedEvent] = [*STORED, (6 + INTERRUPTION_GAP, Failed(INTERRUPTED, "Interrupted"))]
GONE_ON: list[NumberedEvent] = [
    *STORED,
    (6 + INTERRUPTION_GAP, Delta("on")),
    (7 + INTERRUPTION_GAP, Done()),
    (8 + INTERRUPTION_GAP, FullText("w " * 6 + "on")),
]
CUT_OFF: list[NumberedEvent] = [*STORED, (7, Failed("upstream_cut_off", "Cut off"))]


def a_response() -> Response:
    return Response(
        answer=Answer(id=AnswerId(1), owner=UserId(1), conversation=ConversationId(2), number=2),
        request=ResponseRequest(model="m"),
        in_conversation=False,
        question=Message(number=1, role=Role.USER, text="x", created_at=NOW),
        reply=None,
        started_at=NOW,
    )


def told(row: Sequence[NumberedEvent], after: int = -1) -> list[dict[str, Any]]:
    events = ResponseEvents(a_response(), after)
    wires = [*events.opening(), *(wire for numbered in row for wire in events.feed(numbered))]
    return [json.loads(data) for _, data in wires]


@pytest.mark.parametrize("row", [CLOSED, GONE_ON])
def test_who_has_seen_more_than_was_stored_hears_of_the_end(row: list[NumberedEvent]) -> None:
    whole = told(row)

    for seen in range(len(whole) - 1, len(whole) + 20):
        (last,) = told(row, seen)
        assert last == {**whole[-1], "sequence_number": seen + 1}


@pytest.mark.parametrize("row", [CLOSED, GONE_ON, CUT_OFF])
def test_the_numbers_of_all_others_rise_by_one_and_the_rest_is_exact(row: list[NumberedEvent]) -> None:
    whole = told(row)

    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert all(told(row, seen) == whole[seen + 1 :] for seen in range(len(whole) - 1))


def test_nothing_comes_after_the_end_of_what_was_not_interrupted() -> None:
    assert told(CUT_OFF, len(told(CUT_OFF)) - 1) == []
