"""Events survive being bytes."""

from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.answers import AnswerEvent, Cited, Delta, Done, Failed, FullText
from llm_backend.domain.citations import Citation
from llm_backend.domain.conversations import TokenUsage
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
    st.lists(citations).map(lambda some: Cited(tuple(some))),
    st.builds(Done, st.none() | st.builds(TokenUsage, prompt=numbers, completion=numbers)),
    texts.map(FullText),
    st.builds(Failed, texts, texts),
)


@given(st.lists(events))
def test_what_is_decoded_is_what_was_encoded(some: list[AnswerEvent]) -> None:
    assert decode_events(encode_events(some)) == some


def test_a_delta_costs_little_more_than_its_text() -> None:
    payload = encode_events([Delta("word ")] * 100)

    assert len(payload) <= 100 * (len("word ") + 1) + 5
