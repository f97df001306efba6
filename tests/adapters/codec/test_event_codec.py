"""Events survive being bytes."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.answers import AnswerEvent, Cited, Continued, Delta, Done, Failed, FullText
from llm_backend.domain.citations import Citation
from llm_backend.domain.conversations import Seam, TokenUsage
from llm_backend.domain.ids import DocumentId
from llm_backend.infrastructure.codec.events import decode_events, encode_events

texts = st.text()
numbers = st.integers(0, 2**53)
citations = st.builds(
    Citation,
    number=numbers,
    document=texts.map(DocumentId),
    document_name=texts,
    start=numbers,
    end=numbers,
    page=st.none() | numbers,
    quote=texts,
    verified=st.booleans(),
)
events: st.SearchStrategy[AnswerEvent] = st.one_of(
    texts.map(Delta),
    st.builds(Continued, texts, st.builds(Seam, at=numbers, model=texts, reason=texts)),
    st.lists(citations).map(lambda some: Cited(tuple(some))),
    st.builds(
        Done, st.none() | st.builds(TokenUsage, prompt=numbers, completion=numbers, cached=numbers, reasoning=numbers)
    ),
    texts.map(FullText),
    st.builds(Failed, texts, texts),
)


@given(st.lists(events))
def test_what_is_decoded_is_what_was_encoded(some: list[AnswerEvent]) -> None:
    assert decode_events(encode_events(some)) == some


def test_events_from_before_there_were_details_are_understood() -> None:
    stored = msgspec.msgpack.encode([["done", 12, 34], ["done", 12, 34, "stop", None], ["done"]])

    usage = TokenUsage(prompt=12, completion=34)
    assert decode_events(stored) == [Done(usage), Done(usage, "stop"), Done()]


def test_a_delta_costs_little_more_than_its_text() -> None:
    payload = encode_events([Delta("word ")] * 100)

    assert len(payload) <= 100 * (len("word ") + 1) + 5
