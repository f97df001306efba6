"""The two framings, read back by what reads them: JSON per block, and a strict parser of server-sent events."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
from httpx import Response
from httpx_sse import EventSource, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import AnswerEvent, Cited, Continued, Delta, Done, Failed, FullText
from llm_backend.domain.conversations import Seam
from llm_backend.domain.ids import AnswerId
from llm_backend.domain.knowledge import Relevance
from llm_backend.interface.http.options import FramingChoice
from llm_backend.interface.http.streams import PING, PlainFraming, StrictFraming, framing_for
from llm_backend.testing.builders import a_citation

ANSWER = AnswerId(77)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
events = st.one_of(
    st.builds(Delta, texts),
    st.builds(Continued, texts, st.just(Seam(at=7, model="other", reason="upstream_cut_off"))),
    st.builds(FullText, texts),
    st.builds(Failed, st.just("stopped"), texts),
    st.just(Done()),
    st.builds(lambda quote: Cited((a_citation(quote=quote),), Relevance.LOW), texts),
)


def numbered(batch: Sequence[AnswerEvent], first: int = 1) -> list[NumberedEvent]:
    return list(enumerate(batch, first))


def plain_blocks(content: bytes) -> list[dict[str, Any]]:
    """What a client of the old product does."""
    blocks = content.split(b"\n\n")
    assert blocks.pop() == b""
    return [json.loads(block) for block in blocks]


def strict_events(content: bytes) -> list[ServerSentEvent]:
    reply = Response(200, content=content, headers={"content-type": "text/event-stream"})
    return list(EventSource(reply).iter_sse())


def expected(event: AnswerEvent) -> tuple[str, Any]:
    match event:
        case Delta(text):
            return "message", text
        case FullText(text):
            return "full_response", text
        case Done():
            return "done", "Stream finished"
        case Failed(code, message):
            return "stream_error", {"code": code, "message": message}
        case Cited(citations):
            renamed = {"document": "doc_id", "document_name": "doc_name"}
            untold = {"file"}  # these clients know documents
            shown = json.loads(json.dumps([asdict(one) for one in citations]))  # tuples as lists
            return "citations", [
                {renamed.get(name, name): value for name, value in one.items() if name not in untold} for one in shown
            ]


@given(st.lists(events))
def test_plain_blocks_say_what_happened_except_for_citations(batch: list[AnswerEvent]) -> None:
    content = PlainFraming().encode(numbered(batch))

    shown = [event for event in batch if not isinstance(event, Cited)]
    assert [(block["event"], block["data"]) for block in plain_blocks(content)] == [expected(event) for event in shown]
    assert all(list(block) == ["event", "data"] for block in plain_blocks(content))


@given(st.lists(events, min_size=1), st.integers(1, 2**40))
def test_strict_events_say_what_happened_with_ids(batch: list[AnswerEvent], first: int) -> None:
    content = StrictFraming(ANSWER).encode(numbered(batch, first))

    read = strict_events(content)
    assert [(event.event, json.loads(event.data)["data"]) for event in read] == [expected(event) for event in batch]
    assert [event.id for event in read] == [f"77.{first + index}" for index in range(len(batch))]
    assert all(json.loads(event.data)["event"] == event.event for event in read)
    assert {json.loads(event.data)["relevance"] for event in read if event.event == "citations"} <= {"low"}


@pytest.mark.parametrize(
    "text", ["a\u2028b\u2029c\u0085d", 'say "hi"', "back\\slash", "\r\n\n\n", "data: x", "\x00", "𝄞🙂"]
)
def test_no_text_breaks_a_frame(text: str) -> None:
    batch = numbered([Delta(text), Delta("next")])

    plain = plain_blocks(PlainFraming().encode(batch))
    strict = strict_events(StrictFraming(ANSWER).encode(batch))

    assert [block["data"] for block in plain] == [text, "next"]
    assert [json.loads(event.data)["data"] for event in strict] == [text, "next"]


def test_the_bytes_are_these() -> None:
    batch = numbered([Delta("R"), Delta("ust")])
    framing = StrictFraming(ANSWER)

    assert PlainFraming().encode(batch) == b'{"event":"message","data":"R"}\n\n{"event":"message","data":"ust"}\n\n'
    assert framing.encode(batch) == (
        b'retry: 1000\nid: 77.1\nevent: message\ndata: {"event":"message","data":"R"}\n\n'
        b'id: 77.2\nevent: message\ndata: {"event":"message","data":"ust"}\n\n'
    )
    assert framing.encode(numbered([Delta("s")], 3)).startswith(b"id: 77.3\n")


def test_comments_between_events_are_not_seen() -> None:
    framing = StrictFraming(ANSWER)
    content = framing.encode(numbered([Delta("a")])) + PING * 2 + framing.encode(numbered([Delta("b")], 2))

    assert [json.loads(event.data)["data"] for event in strict_events(content)] == ["a", "b"]


def test_a_failure_that_is_no_event_of_the_answer_moves_no_id() -> None:
    content = StrictFraming(ANSWER).encode_failure(Failed("internal_error", "Sorry"))

    assert b"id:" not in content
    assert strict_events(content)[0].event == "stream_error"


@pytest.mark.parametrize(
    ("accept", "strict"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("application/json, text/event-stream;q=0.9", True),
        ("text/event-stream; q=0", False),
        ("text/event-stream;q=0.000, */*", False),
        ("text/event-streams", False),
        ("text/*", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_strict_is_who_names_the_media_type(accept: str, strict: bool) -> None:
    framing = framing_for(FramingChoice.AUTO, accept, ANSWER)

    assert isinstance(framing, StrictFraming) is strict


@pytest.mark.parametrize(("choice", "kind"), [(FramingChoice.PLAIN, PlainFraming), (FramingChoice.SSE, StrictFraming)])
@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_configuration_can_force_either(choice: FramingChoice, kind: type, accept: str) -> None:
    assert isinstance(framing_for(choice, accept, ANSWER), kind)
