"""Passing on events as bytes: whole, unchanged, and with an eye on their end."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import (
    AnswerTooLong,
    UpstreamCutOff,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from llm_backend.infrastructure.llm.relay import DONE, EventRelay


def event(chunk: dict[str, Any], *, end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps(chunk).encode() + end


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], "usage": None, **more}


WORDS = [said("Hello"), said(', "usage": {"a": 1} '), said(' "error" 世界'), said("")]
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}
USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
STREAM = b"".join(map(event, [*WORDS, STOP, USAGE])) + DONE
HIDDEN = b"".join(map(event, [*WORDS, STOP])) + DONE


def a_relay(*, shows_usage: bool = True, longest: int = 1 << 20, longest_line: int = 1 << 16) -> EventRelay:
    return EventRelay(shows_usage=shows_usage, longest=longest, longest_line=longest_line)


def relayed(relay: EventRelay, *pieces: bytes) -> list[bytes]:
    """What comes out, up to a failure or the end."""
    out = []
    for piece in pieces:
        out.append(relay.feed(piece))
        if relay.failure or relay.done:
            return out
    return [*out, relay.finish()]


def chopped(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(st.integers(min_value=0), max_size=12), st.booleans())
def test_how_a_stream_is_chopped_makes_no_difference(cuts: list[int], shows_usage: bool) -> None:
    relay = a_relay(shows_usage=shows_usage)

    out = relayed(relay, *chopped(STREAM, cuts))

    assert b"".join(out) == (STREAM if shows_usage else HIDDEN)
    assert all(piece.endswith(b"\n\n") for piece in out if piece)
    assert relay.usage == TokenUsage(prompt=7, completion=3)
    assert relay.done
    assert relay.failure is None


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_every_end_of_a_line_is_one(end: bytes) -> None:
    relay = a_relay(shows_usage=False)
    stream = b"".join(event(chunk, end=end) for chunk in [*WORDS, STOP, USAGE]) + b"data: [DONE]" + end

    out = b"".join(relayed(relay, *chopped(stream, [50, 51, 52, 300])))

    assert out == b"".join(event(chunk, end=end) for chunk in [*WORDS, STOP]) + b"data: [DONE]" + end
    assert relay.usage == TokenUsage(prompt=7, completion=3)


def test_figures_that_come_with_a_piece_of_the_answer_stay_there() -> None:
    relay = a_relay(shows_usage=False)
    last = event({**STOP, "usage": USAGE["usage"]})

    assert b"".join(relayed(relay, event(WORDS[0]), last, DONE)) == event(WORDS[0]) + last + DONE
    assert relay.usage == TokenUsage(prompt=7, completion=3)


@pytest.mark.parametrize("last", [b"", b"data: [DONE]", b"data: [DONE]\n", b"data: {cut off", b"\n"])
def test_an_end_that_is_not_said_is_said(last: bytes) -> None:
    relay = a_relay()

    out = b"".join(relayed(relay, event(WORDS[0]) + event(STOP), last))

    assert out == event(WORDS[0]) + event(STOP) + DONE
    assert relay.failure is None


@pytest.mark.parametrize("end", [DONE, b"data:[DONE]\r\n\r\n", b"data: [DONE] \r\r"])
@pytest.mark.parametrize(
    "behind",
    [
        b": bye\n\n",
        event(WORDS[1]),
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\n\n",
        event(WORDS[1])[:-1],
        event({"error": {"message": "too late"}}),
        event({"error": {"message": "too late"}})[:-1],
        b"data: [DONE]\n",
        b"x" * 100_000,
    ],
)
def test_what_comes_behind_the_end_is_not_waited_for_and_not_passed_on(end: bytes, behind: bytes) -> None:
    relay = a_relay()

    out = relay.feed(event(WORDS[0]) + end + behind)

    assert relay.done
    assert out.rstrip() == (event(WORDS[0]) + end).rstrip()
    assert relay.finish() == b""
    assert relay.failure is None


@pytest.mark.parametrize(
    "end", [b"data: [DONE]\nid: 5\n\n", b"data:[DONE] \r\nid: 5\r\nretry: 5\r\n\r\n", b"id: 5\rdata: [DONE]\r\r"]
)
def test_the_end_is_a_whole_event_whatever_else_is_in_it(end: bytes) -> None:
    at_once, cut_short = a_relay(), a_relay()

    assert at_once.feed(event(WORDS[0]) + end + event(WORDS[1])) == event(WORDS[0]) + end
    assert at_once.done
    assert b"".join(relayed(cut_short, event(WORDS[0]), end.rstrip())) == event(WORDS[0]) + end.rstrip() + b"\n\n"
    assert cut_short.failure is None


@pytest.mark.parametrize("said_before", [b"", event(WORDS[0])])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_an_error_in_front_of_the_end_is_one(said_before: bytes, end: bytes) -> None:
    relay = a_relay()

    assert relay.feed(said_before + event({"error": {"code": 504}}, end=end) + b"data: [DONE]" + end) == said_before
    assert isinstance(relay.failure, UpstreamTimeout)
    assert not relay.done


def test_an_answer_about_the_end_is_none() -> None:
    relay = a_relay()
    about = event(said("\ndata: [DONE]\n\n")) + event(said("data: [DONE]"))

    assert relay.feed(about) == about
    assert not relay.done


@pytest.mark.parametrize("rest", [b"", b"data: {cut", event(WORDS[1])[:-2][:-5]])
def test_a_stream_that_breaks_off_has_failed(rest: bytes) -> None:
    relay = a_relay()

    out = b"".join(relayed(relay, event(WORDS[0]), rest))

    assert out == event(WORDS[0])
    assert isinstance(relay.failure, UpstreamCutOff)


@pytest.mark.parametrize("error", [{"message": "words of the provider"}, "words of the provider", {"code": 500}])
def test_an_error_of_the_server_is_not_passed_on(error: Any) -> None:
    relay = a_relay()

    out = b"".join(relayed(relay, event(WORDS[0]) + event({"error": error}) + event(WORDS[1])))

    assert out == event(WORDS[0])
    assert isinstance(relay.failure, UpstreamFailed)


def test_an_error_that_is_none_is() -> None:
    relay = a_relay()
    stream = event(said("Hello", error=None)) + event(STOP) + DONE

    assert b"".join(relayed(relay, stream)) == stream


def test_comments_are_no_beginning() -> None:
    relay = a_relay()

    assert relay.feed(b": thinking\n\n") == b""
    assert not relay.began
    assert relay.feed(event(WORDS[0]) + b": more\n\n") == event(WORDS[0]) + b": more\n\n"
    assert relay.began


def test_a_line_without_an_end_and_an_answer_without_one_fail() -> None:
    endless_line, endless_answer = a_relay(longest_line=1000), a_relay(longest=1000)

    endless_line.feed(b"data: " + b"x" * 2000)
    relayed(endless_answer, *[event(WORDS[0])] * 20)

    assert isinstance(endless_line.failure, UpstreamProtocolError)
    assert isinstance(endless_answer.failure, AnswerTooLong)


def test_what_nobody_counted_is_estimated_from_what_was_said() -> None:
    relay, silent = a_relay(), a_relay()
    relayed(relay, *[event(said("word " * 4))] * 25)

    asked = TokenUsage(prompt=10, completion=0)

    assert relay.estimated(asked).prompt == 10
    assert 100 <= relay.estimated(asked).completion <= 150
    assert silent.estimated(asked) == asked


def test_broken_characters_cost_no_estimate() -> None:
    relay = a_relay()
    broken = b'data: {"choices":[{"delta":{"content":"\xff","usage": 1}}]}\n\n'

    told = relayed(relay, event(said("y" * 16)), broken, DONE)

    assert told[-1] == DONE
    assert relay.estimated(TokenUsage(prompt=10, completion=0)).completion >= 4


def test_calls_that_nobody_counted_are_estimated_as_well() -> None:
    relay = a_relay()
    call = {"index": 0, "id": "call_1", "function": {"name": "four", "arguments": "y" * 16}}
    relayed(relay, event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}))

    assert relay.estimated(TokenUsage(prompt=10, completion=0)) == TokenUsage(prompt=10, completion=5)


@pytest.mark.parametrize(
    ("details", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 4}}, 4),
        ({"prompt_cache_hit_tokens": 4}, 4),
        ({"prompt_cache_hit_tokens": 4000}, 7),
        ({"prompt_tokens_details": {"cached_tokens": None}, "completion_tokens_details": None}, 0),
        ({"prompt_tokens_details": {"cached_tokens": "4"}, "completion_tokens_details": [1]}, 0),
        ({"prompt_tokens_details": "none", "prompt_cache_hit_tokens": -4}, 0),
        ({"prompt_tokens_details": {"cached_tokens": 2**31}, "prompt_cache_hit_tokens": True}, 0),
    ],
)
def test_details_that_nobody_understands_cost_no_count(details: dict[str, object], cached: int) -> None:
    relay = a_relay()
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, **details}}

    relayed(relay, event(WORDS[0]), event(usage), DONE)

    assert relay.usage == TokenUsage(prompt=7, completion=3, cached=cached)


@pytest.mark.parametrize("claimed", [2**31, 2**53])
def test_more_tokens_than_any_window_holds_are_no_count(claimed: int) -> None:
    relay = a_relay()
    usage = {"choices": [], "usage": {"prompt_tokens": claimed, "completion_tokens": 1}}

    told = relayed(relay, event(WORDS[0]), event(usage), DONE)

    assert told[-1] == DONE
    assert relay.usage is None
