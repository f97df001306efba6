"""Streams of responses that were interrupted: whatever number a reader has seen last, it hears of the end."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import INTERRUPTED, INTERRUPTION_GAP, Answer, Delta, Done, Failed, FullText
from llm_backend.domain.citations import Source
from llm_backend.domain.conversations import Message, Role, TokenUsage
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.domain.responses import Response, ResponseRequest
from llm_backend.interface.http.openai.response_events import ResponseEvents
from llm_backend.testing.builders import a_source

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STORED: list[NumberedEvent] = [(number, Delta("w ")) for number in range(1, 7)]
CLOSED: list[NumberedEvent] = [*STORED, (6 + INTERRUPTION_GAP, Failed(INTERRUPTED, "Interrupted"))]
GONE_ON: list[NumberedEvent] = [
    *STORED,
    (6 + INTERRUPTION_GAP, Delta("on")),
    (7 + INTERRUPTION_GAP, Done()),
    (8 + INTERRUPTION_GAP, FullText("w " * 6 + "on")),
]
CITING: list[NumberedEvent] = [
    *STORED,
    (6 + INTERRUPTION_GAP, Delta("w [1]")),
    (7 + INTERRUPTION_GAP, Done(TokenUsage(prompt=1, completion=2))),
    (8 + INTERRUPTION_GAP, FullText("w " * 7 + "[1]")),
]
CUT_OFF: list[NumberedEvent] = [*STORED, (7, Failed("upstream_cut_off", "Cut off"))]


def a_response(*sources: Source) -> Response:
    return Response(
        answer=Answer(id=AnswerId(1), owner=UserId(1), conversation=ConversationId(2), number=2),
        request=ResponseRequest(model="m"),
        in_conversation=False,
        question=Message(number=1, role=Role.USER, text="x", created_at=NOW),
        reply=None,
        sources=sources,
        started_at=NOW,
    )


def told(row: Sequence[NumberedEvent], after: int = -1, *, response: Response | None = None) -> list[dict[str, Any]]:
    events = ResponseEvents(response or a_response(), after)
    wires = [*events.opening(), *(wire for numbered in row for wire in events.feed(numbered))]
    return [json.loads(data) for _, data in wires]


def unnumbered(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "sequence_number"}


@pytest.mark.parametrize("row", [CLOSED, GONE_ON])
def test_who_has_seen_more_than_was_stored_hears_of_the_end(row: list[NumberedEvent]) -> None:
    whole = told(row)

    assert told(row, len(whole) - 1) == [{**whole[-1], "sequence_number": len(whole)}]
    for seen in range(len(whole), len(whole) + 20):
        ending = told(row, seen)
        assert [event["sequence_number"] for event in ending] == list(range(seen + 1, seen + 5))
        assert [unnumbered(event) for event in ending] == [unnumbered(event) for event in whole[-4:]]
        assert ending[0]["type"] == "response.output_text.done"


def test_who_has_seen_more_than_was_stored_is_told_what_is_cited() -> None:
    response, row = a_response(a_source(1, text="w")), list(CITING)
    whole = told(row, response=response)

    ending = told(row, len(whole) + 5, response=response)

    assert [event["type"].removeprefix("response.") for event in ending] == [
        "output_text.annotation.added", "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [unnumbered(event) for event in ending] == [unnumbered(event) for event in whole[-5:]]
    assert ending[-1]["response"]["usage"]["total_tokens"] == 3


@pytest.mark.parametrize("row", [CLOSED, GONE_ON, CUT_OFF])
def test_the_numbers_of_all_others_rise_by_one_and_the_rest_is_exact(row: list[NumberedEvent]) -> None:
    whole = told(row)

    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert all(told(row, seen) == whole[seen + 1 :] for seen in range(len(whole) - 1))


def test_nothing_comes_after_the_end_of_what_was_not_interrupted() -> None:
    assert told(CUT_OFF, len(told(CUT_OFF)) - 1) == []
