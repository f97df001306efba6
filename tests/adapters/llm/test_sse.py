"""How a stream is chopped makes no difference to what it says."""

import json
from collections.abc import Iterable
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_backend.domain.errors import UpstreamProtocolError
from llm_backend.infrastructure.llm.chunks import ChunkDecoder, Found
from llm_backend.infrastructure.llm.sse import SseParser

LINES = st.sampled_from(
    [
        b"data: one",
        "data:两\u2028\u0085\x0b\x0c三".encode(),
        b"data",
        b"data: ",
        b": ping",
        b"event: x",
        b"id: 1",
        b"retry: 3",
        b"nonsense",
        b"data: [DONE]",
        b"",
        b"",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
CUTS = st.lists(st.integers(0, 400), max_size=12)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.booleans(), CUTS)
def test_events_are_the_same_however_the_bytes_are_chopped(
    lines: list[tuple[bytes, bytes]], bom: bool, cuts: list[int]
) -> None:
    stream = (b"\xef\xbb\xbf" if bom else b"") + b"".join(line + end for line, end in lines)

    assert events(chopped(stream, cuts)) == events([stream])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_line_ends_are_understood_and_nothing_else_is_one(end: str) -> None:
    stream = (
        f": hi{end}{end}event: x{end}data: a\u2028b\u0085{end}data:c{end}{end}data{end}{end}data:  d{end}{end}".encode()
    )

    assert events([stream]) == ["a\u2028b\u0085\nc".encode(), b" d"]


def test_an_event_without_its_blank_line_counts_at_the_end() -> None:
    assert events([b"data: a\n\ndata: b"]) == [b"a", b"b"]


def test_a_byte_order_mark_is_skipped_at_the_start_only() -> None:
    assert events([b"\xef", b"\xbb\xbfdata: a\n\n", b"\xef\xbb\xbfdata: b\n\n"]) == [b"a"]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 100, b"data: xxxx\n" * 20, b": ping\n\n" * 200])
def test_lines_events_and_streams_have_limits(stream: bytes) -> None:
    parser = SseParser(longest_line=50, longest_stream=1000)

    with pytest.raises(UpstreamProtocolError):
        parser.feed(stream)


def chunk(content: str | None, *, ascii_only: bool = False) -> bytes:
    return json.dumps({"id": "x", "choices": [{"delta": {"content": content}}]}, ensure_ascii=ascii_only).encode()


HALVES = [b'{"choices": [{"delta": {"content": "%b"}}]}' % half for half in (rb"\ud83c", rb"\udf0d", rb"\u0000")]
PAYLOADS = st.one_of(
    st.text(max_size=8).map(chunk),
    st.text(max_size=8).map(lambda text: chunk(text, ascii_only=True)),
    st.sampled_from(
        [
            chunk(None),
            *HALVES,
            b"[DONE]",
            b"{}",
            b"{\ndata: }",
            b'{"choices":[]}\n{"choices":[{"delta":{"content":"no field"}}]}',
            b'{"choices":[{"delta":{"content":"a"}}]}\n\n{"choices":[{"delta":{"content":"no field"}}]}',
            b'{"choices":[{"delta":{"content":["a","list"]},"finish_reason":"stop"}]}',
            b'{"usage":{"prompt_tokens":-1}}',
            b'{"usage":{"prompt_tokens":1,"completion_tokens":2}}',
            b'{"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}',
            b'{"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_cache_hit_tokens":1,"\xff":1}}',
            b'{"choices":\r[]}',
            b'{"choices":[{"delta":{"content":"\xff"}}]}',
            b"oops",
            b"1",
        ]
    ),
)
JOINTS = st.sampled_from([b"\n\n", b"\n\n", b"\n\n", b"\r\n\r\n", b"\n", b"\n\n\n", b"\n\n: ping\n\n", b"\n\r\n"])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(PAYLOADS, JOINTS), max_size=10), CUTS)
def test_chunks_are_the_same_however_the_bytes_are_chopped(pairs: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(b"data: " + payload + joint for payload, joint in pairs)

    whole = chunks([stream])

    assert chunks(chopped(stream, cuts)) == whole
    assert chunks(stream[at : at + 1] for at in range(len(stream))) == whole
    assert chunks([b": not the usual start\n\n" + stream]) == whole


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_chunk_is_told_as_soon_as_its_last_byte_is_there(end: str) -> None:
    event = b"data: " + chunk("a") + 2 * end.encode()
    decoder = ChunkDecoder()

    for _ in range(3):
        assert list(map(told, decoder.feed(event))) == [[("a", None, None)]]
        assert [told(one) for at in range(len(event)) for one in decoder.feed(event[at : at + 1])] == [
            [("a", None, None)]
        ]


@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8), max_size=10))
def test_texts_come_out_as_they_went_in(texts: list[str]) -> None:
    usual = b"".join(b"data: " + chunk(text) + b"\n\n" for text in texts)
    escaped = b"".join(b"data: " + chunk(text, ascii_only=True) + b"\r\n\r\n" for text in texts)

    assert chunks([usual])[0] == [(text, None, None) for text in texts]
    assert chunks([escaped])[0] == [(text, None, None) for text in texts]


def test_the_halves_of_a_character_meet_and_lone_ones_are_replaced() -> None:
    events = [HALVES[0], HALVES[1], HALVES[0], chunk("a"), HALVES[1], HALVES[2]]

    texts = [text for text, _, _ in chunks([b"".join(b"data: " + event + b"\n\n" for event in events)])[0]]

    assert "".join(texts) == "🌍\ufffda\ufffd\ufffd"


def test_nothing_after_done_counts() -> None:
    assert chunks([b"data: [DONE]\n\n" + b"data: " + chunk("a") + b"\n\n", b"data: oops\n\n"]) == ([], True, False)


def chopped(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in pairwise(places)] or [b""]


def events(reads: Iterable[bytes]) -> list[bytes]:
    parser = SseParser()
    return [event for read in reads for event in parser.feed(read)] + parser.finish()


OfChunk = tuple[str, str | None, object]
Told = tuple[list[OfChunk], bool, bool]


def told(found: Found) -> list[OfChunk]:
    if isinstance(found, list):
        return [(text, None, None) for text in found]
    return [(found.text, found.finish_reason, found.usage)]


def chunks(reads: Iterable[bytes]) -> Told:
    """What was read until the end or the first fault, whether it ended with `[DONE]`, and whether there was a fault."""
    decoder = ChunkDecoder()
    found: list[OfChunk] = []
    try:
        for one in chain(chain.from_iterable(map(decoder.feed, reads)), decoder.finish()):
            found += told(one)
    except UpstreamProtocolError:
        return found, False, True
    return found, decoder.done, False
