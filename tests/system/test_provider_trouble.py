"""What a provider does wrong, as clients of the real server see it: in bounded time, and in no words but ours."""

import json
from typing import Any

import pytest
from httpx import Response

from tests.http.clients import Client
from tests.live import ServerProcess
from tests.system.streams import STRICT, answered, plain_events
from tests.upstream import PROVIDER_WORDS, Upstream, text

# Longer than any time-out of the server's configuration, with room for a busy machine.
BOUND = 20.0  # seconds


async def asked(client: Client, behaviour: str, **headers: str) -> tuple[int, Response]:
    """A conversation and its first answer, for which the provider behaves like that."""
    conversation = await client.new_conversation(model=behaviour)
    return conversation, await client.post(
        f"/api/chat/{conversation}", {"message": "Hello"}, headers=headers, timeout=BOUND
    )


async def takes_the_next_message(client: Client, upstream: Upstream, conversation: int) -> list[dict[str, Any]]:
    """The history, once the provider is well again and another question has been answered."""
    upstream.next("ok:tokens=5")
    reply = await answered(client, conversation, "And now?")
    assert plain_events(reply.content)[-1] == ("full_response", text(5))
    history = await client.history(conversation)
    assert [message["message_id"] for message in history] == list(range(1, len(history) + 1))
    assert history[-1]["content"] == text(5)
    return history


def assert_nothing_of_the_provider(seen: str, server: ServerProcess) -> None:
    for secret in (PROVIDER_WORDS, "sk-of-the-server"):
        assert secret not in seen
        assert secret not in server.output


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("429:retry_after=60", "upstream_rate_limited"),
        ("500", "upstream_unavailable"),
        ("503", "upstream_unavailable"),
        ("401", "upstream_rejected_key"),
        ("400", "upstream_rejected_request"),
        ("error_body", "upstream_unavailable"),
        ("error_event:after=0,code=429", "upstream_rate_limited"),
        ("redirect", "upstream_protocol_error"),
        ("page", "upstream_protocol_error"),
        ("garbage:after=0", "upstream_protocol_error"),
        ("not_http", None),
        ("slams", None),
        ("headers_only", None),
        ("hangs", "upstream_timeout"),
        ("pings", "upstream_timeout"),
        ("endless_head", None),
        ("endless_body", None),
    ],
)
async def test_a_failure_before_the_first_token_is_a_status_with_a_code(
    alice: Client, server: ServerProcess, upstream: Upstream, behaviour: str, code: str | None
) -> None:
    conversation, reply = await asked(alice, behaviour)

    assert reply.status_code == 500
    body = reply.json()
    assert body["code"] == code or (code is None and body["code"].startswith("upstream_"))
    assert_nothing_of_the_provider(reply.text, server)
    history = await takes_the_next_message(alice, upstream, conversation)
    assert [message["role"] for message in history][-2:] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("reset:after=2", None),
        ("cut:after=2", None),
        ("ends_early:after=2", None),
        ("error_event:after=2,code=429", "upstream_rate_limited"),
        ("garbage:after=2", "upstream_protocol_error"),
        ("endless_line:after=2", "upstream_protocol_error"),
        ("stall:after=2", "upstream_timeout"),
    ],
)
async def test_a_failure_after_two_tokens_keeps_them_and_says_so(
    alice: Client, server: ServerProcess, upstream: Upstream, behaviour: str, code: str | None
) -> None:
    conversation, reply = await asked(alice, behaviour)

    *messages, (name, failure) = plain_events(reply.content)
    assert messages == [("message", "Hello"), ("message", ",")]
    assert name == "stream_error"
    assert failure["code"] == code or (code is None and failure["code"].startswith("upstream_"))
    assert_nothing_of_the_provider(reply.text, server)
    history = await takes_the_next_message(alice, upstream, conversation)
    assert history[1] == {
        "role": "assistant",
        "content": "Hello,",
        "message_id": 2,
        "state": "incomplete",
        "reason": failure["code"],
    }


IN_THE_MIDDLE = [
    ("reset:after=3", "upstream_cut_off"),
    ("cut:after=3", "upstream_cut_off"),
    ("stall:after=3", "upstream_timeout"),
    ("garbage:after=3", "upstream_protocol_error"),
    ("error_event:after=3,code=429", "upstream_rate_limited"),
]


@pytest.mark.parametrize(("behaviour", "code"), IN_THE_MIDDLE)
async def test_a_failure_in_the_middle_is_made_good_by_a_fallback(
    alice: Client, server: ServerProcess, upstream: Upstream, behaviour: str, code: str
) -> None:
    upstream.next(behaviour)

    conversation, reply = await asked(alice, "covered")

    told = plain_events(reply.content)
    assert "".join(data for name, data in told if name == "message") == text(10)
    assert told[-2:] == [("done", "Stream finished"), ("full_response", text(10))]
    assert_nothing_of_the_provider(reply.text, server)
    assert [request.model for request in upstream.requests] == ["covered", "spare"]
    history = await takes_the_next_message(alice, upstream, conversation)
    assert history[1] == {
        "role": "assistant",
        "content": text(10),
        "message_id": 2,
        "seams": [{"at": len(text(3)), "model": "spare", "reason": code}],
    }


async def test_a_strict_reader_sees_one_answer_with_gapless_ids(alice: Client, upstream: Upstream) -> None:
    upstream.next("cut:after=3")

    _, reply = await asked(alice, "covered", **STRICT)

    lines = reply.text.splitlines()
    assert {line for line in lines if line.startswith("event: ")} == {
        "event: message",
        "event: done",
        "event: full_response",
    }
    numbers = [int(line.rpartition(".")[2]) for line in lines if line.startswith("id: ")]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_when_the_fallback_fails_too_the_answer_is_incomplete_and_its_seam_is_kept(
    alice: Client, upstream: Upstream
) -> None:
    upstream.next("cut:after=3", "garbage:after=5")

    conversation, reply = await asked(alice, "covered")

    name, failure = plain_events(reply.content)[-1]
    assert (name, failure["code"]) == ("stream_error", "upstream_protocol_error")
    history = await takes_the_next_message(alice, upstream, conversation)
    assert history[1] == {
        "role": "assistant",
        "content": text(5),
        "message_id": 2,
        "state": "incomplete",
        "reason": "upstream_protocol_error",
        "seams": [{"at": len(text(3)), "model": "spare", "reason": "upstream_cut_off"}],
    }


async def test_a_failure_before_the_first_token_is_made_good_too(alice: Client, upstream: Upstream) -> None:
    upstream.next("500")

    conversation, reply = await asked(alice, "covered")

    assert plain_events(reply.content)[-1] == ("full_response", text(10))
    history = await takes_the_next_message(alice, upstream, conversation)
    assert history[1]["seams"] == [{"at": 0, "model": "spare", "reason": "upstream_unavailable"}]


async def test_an_endless_answer_ends_at_the_limit_and_is_kept(alice: Client, upstream: Upstream) -> None:
    conversation, reply = await asked(alice, "endless_answer")

    name, failure = plain_events(reply.content)[-1]
    assert (name, failure["code"]) == ("stream_error", "answer_too_long")
    history = await takes_the_next_message(alice, upstream, conversation)
    assert 200_000 < len(history[1]["content"]) <= 256 * 1024
    assert history[1]["state"] == "incomplete"


@pytest.mark.parametrize(
    "behaviour", ["crlf", "cr", "split:size=1", "split:size=3", "no_done", "whole", "until_closed", "stays_open"]
)
async def test_an_oddly_written_answer_is_read_to_the_letter(alice: Client, upstream: Upstream, behaviour: str) -> None:
    conversation, reply = await asked(alice, behaviour)

    told = plain_events(reply.content)
    assert "".join(data for name, data in told if name == "message") == text(10)
    assert told[-2:] == [("done", "Stream finished"), ("full_response", text(10))]
    history = await takes_the_next_message(alice, upstream, conversation)
    assert history[1] == {"role": "assistant", "content": text(10), "message_id": 2}


async def test_a_failure_before_the_first_token_is_the_same_status_to_strict_readers(alice: Client) -> None:
    _, reply = await asked(alice, "500", **STRICT)

    assert reply.status_code == 500
    assert reply.json()["code"] == "upstream_unavailable"


async def test_a_strict_stream_that_fails_ends_with_one_failure(alice: Client) -> None:
    _, reply = await asked(alice, "reset:after=2", **STRICT)

    *_, last = reply.text.removesuffix("\n\n").split("\n\n")
    _, event, data = last.split("\n")
    assert event == "event: stream_error"
    assert set(json.loads(data.removeprefix("data: "))["data"]) == {"code", "message"}
    assert reply.text.count("stream_error") == 2  # the name, and the object
