"""What becomes of a server's answers, good and bad."""

import asyncio
import logging
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from llm_backend.application.ports.chat_model import ChatRequest, ChatTurn
from llm_backend.domain.answers import CallPiece, Delta
from llm_backend.domain.conversations import Role, TokenUsage
from llm_backend.domain.errors import (
    AnswerTooLong,
    ApiKeyRequired,
    InvalidApiKey,
    UpstreamCutOff,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRateLimited,
    UpstreamRejectedKey,
    UpstreamRejectedRequest,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llm_backend.domain.items import FunctionCall, ImagePart, TextPart
from llm_backend.domain.outputs import Outline
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.openai import OpenAiChatModel
from llm_backend.infrastructure.llm.retry import RetryPolicy
from tests.adapters.llm.conftest import OWN_KEY, PROVIDER_KEY, Listener, MakeModel, a_request
from tests.upstream import PROVIDER_WORDS, Upstream, closed_port, deaf_port, text

SOON = 10  # seconds
SHORT = AnswerLimits(
    connect=timedelta(seconds=0.2), first_token=timedelta(seconds=0.3), idle=timedelta(seconds=0.2), longest_line=65536
)
GOOD = [
    "ok",
    "burst",
    "crlf",
    "cr",
    "split",
    "split:size=7",
    "no_done",
    "whole",
    "closes",
    "until_closed",
    "hints",
    "stays_open",
    "zipped",
    "of_an_odd_encoding",
    "no_options",
    "ok:delay=0.002",
]


@pytest.mark.parametrize("behaviour", GOOD)
async def test_an_answer_comes_exactly_as_it_was_sent(model: OpenAiChatModel, behaviour: str) -> None:
    listener = Listener()

    completion = await asyncio.wait_for(listener.to(model, behaviour), SOON)

    assert listener.text == text(10)
    assert completion.finish_reason == "stop"


async def test_an_answer_that_comes_all_at_once_is_whole_too(model: OpenAiChatModel) -> None:
    listener = Listener()

    await asyncio.wait_for(listener.to(model, "burst:tokens=20000"), SOON)

    assert listener.text == text(20_000)


async def test_the_provider_counts_the_tokens(model: OpenAiChatModel) -> None:
    assert (await Listener().to(model, "ok")).usage == TokenUsage(prompt=7, completion=10)
    assert (await Listener().to(model, "whole")).usage == TokenUsage(prompt=7, completion=10)


async def test_the_provider_tells_what_was_cached_and_what_was_reasoning(model: OpenAiChatModel) -> None:
    detailed = TokenUsage(prompt=7, completion=10, cached=5, reasoning=3)

    assert (await Listener().to(model, "ok:cached=5,reasoning=3")).usage == detailed
    assert (await Listener().to(model, "whole:cached=5,reasoning=3")).usage == detailed
    assert (await Listener().to(model, "ok:hit=5")).usage == TokenUsage(prompt=7, completion=10, cached=5)


async def test_a_server_that_refuses_stream_options_is_asked_without_them_from_then_on(
    model: OpenAiChatModel, upstream: Upstream
) -> None:
    for _ in range(2):
        assert (await Listener().to(model, "no_options")).usage is None

    assert ["stream_options" in request.body for request in upstream.requests] == [True, False, False]


async def test_what_arrives_together_is_handed_on_together(model: OpenAiChatModel) -> None:
    together, apart = Listener(), Listener()

    await together.to(model, "burst")
    await apart.to(model, "ok:delay=0.01")

    assert len(together.batches) == 1
    assert len(apart.batches) == 10


async def test_comments_reasoning_and_other_fields_are_no_text(model: OpenAiChatModel) -> None:
    listener = Listener()

    await listener.to(model, "odd")

    assert listener.text == "AB"


async def test_halves_of_characters_are_joined_or_replaced(model: OpenAiChatModel) -> None:
    listener = Listener()

    await listener.to(model, "halves")

    assert listener.text == "🌍!\ufffd?\ufffd"


BAD: Sequence[tuple[str, type[UpstreamFailed], str]] = [
    ("400", UpstreamRejectedRequest, ""),
    ("401", UpstreamRejectedKey, ""),
    ("403", UpstreamRejectedKey, ""),
    ("404", UpstreamRejectedRequest, ""),
    ("408", UpstreamTimeout, ""),
    ("422", UpstreamRejectedRequest, ""),
    ("429", UpstreamRateLimited, ""),
    ("500", UpstreamUnavailable, ""),
    ("501", UpstreamUnavailable, ""),
    ("503", UpstreamUnavailable, ""),
    ("redirect", UpstreamProtocolError, ""),
    ("error_body", UpstreamUnavailable, ""),
    ("error_event", UpstreamUnavailable, text(2)),
    ("error_event:code=429", UpstreamRateLimited, text(2)),
    ("error_event:after=0,code=invalid_api_key", UpstreamRejectedKey, ""),
    ("garbage", UpstreamProtocolError, text(2)),
    ("page", UpstreamProtocolError, ""),
    ("reset", UpstreamCutOff, text(2)),
    ("cut", UpstreamCutOff, text(2)),
    ("ends_early", UpstreamCutOff, text(2)),
    ("headers_only", UpstreamCutOff, ""),
    ("slams", UpstreamUnavailable, ""),
    ("not_http", UpstreamUnavailable, ""),
    ("endless_line", UpstreamProtocolError, text(2)),
    ("endless_head", UpstreamUnavailable, ""),
    ("endless_body", UpstreamProtocolError, ""),
    ("deep", UpstreamProtocolError, ""),
    ("bomb", UpstreamProtocolError, ""),
]


@pytest.mark.parametrize(("behaviour", "failure", "partial"), BAD)
async def test_a_failure_has_a_name_keeps_what_was_said_and_tells_nothing_of_the_provider(
    make_model: MakeModel,
    behaviour: str,
    failure: type[UpstreamFailed],
    partial: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    model = make_model(limits=AnswerLimits(longest_answer=10_000, longest_line=65536))
    listener = Listener()

    with pytest.raises(UpstreamFailed) as caught:
        await asyncio.wait_for(listener.to(model, behaviour, key=OWN_KEY), SOON)

    assert type(caught.value) is failure
    assert listener.text == partial
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(model) + logged(caplog)
    assert PROVIDER_WORDS not in told
    assert OWN_KEY not in told
    assert PROVIDER_KEY not in told
    assert "/chat/completions" not in told


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What a product would log: without what libraries say below warnings when one listens in on them."""
    ours = [record for record in caplog.records if record.name.startswith(("llm_backend", "httpx"))]
    return "\n".join(map(logging.Formatter().format, ours))


async def test_an_answer_is_cut_at_the_limit(make_model: MakeModel) -> None:
    model = make_model(limits=AnswerLimits(longest_answer=10_001))
    listener = Listener()

    with pytest.raises(AnswerTooLong):
        await asyncio.wait_for(listener.to(model, "endless_answer"), SOON)

    assert len(listener.text) == 10_001


@pytest.mark.parametrize(
    ("behaviour", "limits", "partial"),
    [
        ("hangs", SHORT, ""),
        ("pings", SHORT, ""),
        ("stall:after=0", SHORT, ""),
        ("stall:after=3", SHORT, text(3)),
        ("ok:tokens=1000,delay=0.01", replace(SHORT, total=timedelta(seconds=0.4)), None),
        ("drip", replace(SHORT, total=timedelta(seconds=0.4)), None),
    ],
)
async def test_silence_ends_in_time(
    make_model: MakeModel, behaviour: str, limits: AnswerLimits, partial: str | None, upstream: Upstream
) -> None:
    listener = Listener()

    with pytest.raises(UpstreamTimeout):
        await asyncio.wait_for(listener.to(make_model(limits=limits), behaviour), SOON)

    assert partial is None or listener.text == partial
    assert len(upstream.requests) == 1
    await asyncio.wait_for(upstream.requests[0].hung_up.wait(), 1)


async def test_steady_life_never_times_out(make_model: MakeModel) -> None:
    listener = Listener()

    await listener.to(make_model(limits=replace(SHORT, idle=timedelta(seconds=0.3))), "ok:tokens=60,delay=0.01")

    assert listener.text == text(60)


async def test_a_complete_answer_stays_good_when_its_end_fails(make_model: MakeModel, upstream: Upstream) -> None:
    model = make_model(limits=SHORT)
    listener = Listener()

    completion = await asyncio.wait_for(listener.to(model, "stays_open"), SOON)

    assert completion.finish_reason == "stop"
    assert listener.text == text(10)


async def test_connecting_ends_in_time(make_model: MakeModel) -> None:
    with deaf_port() as port:
        model = make_model(limits=SHORT, base_url=f"http://127.0.0.1:{port}/v1")
        with pytest.raises(UpstreamTimeout):
            await asyncio.wait_for(Listener().to(model, "ok"), SOON)


async def test_nobody_listening_is_tried_again(make_model: MakeModel) -> None:
    naps = Naps()
    model = make_model(base_url=f"http://127.0.0.1:{closed_port()}/v1", sleep=naps)

    with pytest.raises(UpstreamUnavailable):
        await Listener().to(model, "ok")

    assert len(naps.seconds) == 2


class Naps(list[float]):
    """Sleeps that take no time."""

    @property
    def seconds(self) -> list[float]:
        return list(self)

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.mark.parametrize("first", ["429:retry_after=0", "500", "503", "slams", "headers_only", "error_event:after=0"])
async def test_what_may_pass_is_tried_again_before_the_first_piece(
    model: OpenAiChatModel, upstream: Upstream, first: str
) -> None:
    upstream.next(first, first)
    listener = Listener()

    await listener.to(model, "ok")

    assert listener.text == text(10)
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("behaviour", ["401", "404", "501", "redirect", "garbage:after=0", "cut:after=1", "reset"])
async def test_what_will_not_pass_or_has_begun_is_not_tried_again(
    model: OpenAiChatModel, upstream: Upstream, behaviour: str
) -> None:
    with pytest.raises(UpstreamFailed):
        await Listener().to(model, behaviour)

    assert len(upstream.requests) == 1


async def test_waits_double_are_spread_and_obey_the_server(make_model: MakeModel, upstream: Upstream) -> None:
    naps = Naps()
    policy = RetryPolicy(attempts=4, first_wait=timedelta(seconds=1), jitter=lambda: 0.5)
    model = make_model(retries=policy, sleep=naps)
    upstream.next("500", "429:retry_after=7", "500", "ok")

    await Listener().to(model, "ok")

    assert naps.seconds == [0.75, 7, 3]


async def test_a_wait_that_is_too_long_is_not_waited_for(make_model: MakeModel, upstream: Upstream) -> None:
    naps = Naps()

    with pytest.raises(UpstreamRateLimited):
        await Listener().to(make_model(sleep=naps), "429:retry_after=3600")

    assert naps.seconds == []
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("own", "sent"), [(OWN_KEY, OWN_KEY), (None, PROVIDER_KEY)])
async def test_the_users_key_goes_before_the_providers(
    model: OpenAiChatModel, upstream: Upstream, own: str | None, sent: str
) -> None:
    await Listener().to(model, "ok", key=own)

    assert upstream.requests[0].headers["authorization"] == f"Bearer {sent}"


async def test_without_a_key_only_those_are_asked_that_need_none(make_model: MakeModel, upstream: Upstream) -> None:
    strict, local = make_model(api_key=None), make_model(api_key=None, key_required=False)

    with pytest.raises(ApiKeyRequired):
        strict.check("gpt-4o", own_key=False)
    with pytest.raises(ApiKeyRequired):
        await Listener().to(strict, "ok")
    strict.check("gpt-4o", own_key=True)
    local.check("llama", own_key=False)
    await Listener().to(local, "ok")

    assert "authorization" not in upstream.requests[0].headers


async def test_a_key_cannot_carry_another_header(model: OpenAiChatModel, upstream: Upstream) -> None:
    with pytest.raises(InvalidApiKey):
        await Listener().to(model, "ok", key="sk-1\r\nX-Evil: 1")

    assert upstream.requests == []


async def test_the_request_says_what_was_asked(model: OpenAiChatModel, upstream: Upstream) -> None:
    await Listener().to(model, "ok")

    request = upstream.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        "model": "ok",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "你好\u2028"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_redirect_is_not_followed(model: OpenAiChatModel) -> None:
    async with Upstream() as elsewhere:
        with pytest.raises(UpstreamProtocolError):
            await Listener().to(model, f"redirect:to=127.0.0.1:{elsewhere.port}")

        assert elsewhere.requests == []


@pytest.mark.parametrize("behaviour", ["hangs", "stall", "stall:after=0", "drip"])
async def test_cancelling_closes_the_connection_at_once(
    model: OpenAiChatModel, upstream: Upstream, behaviour: str
) -> None:
    answer = asyncio.ensure_future(Listener().to(model, behaviour))
    request = await asyncio.wait_for(upstream.arrived(), SOON)

    answer.cancel()
    await asyncio.wait_for(request.hung_up.wait(), 1)

    with pytest.raises(asyncio.CancelledError):
        await answer


async def test_an_error_of_the_reader_closes_the_connection_and_is_not_tried_again(
    model: OpenAiChatModel, upstream: Upstream
) -> None:
    def emit(_: Sequence[Delta]) -> None:
        raise UpstreamUnavailable("enough")

    with pytest.raises(UpstreamUnavailable, match="enough"):
        await model.answer(a_request("stall"), emit)

    assert len(upstream.requests) == 1
    await asyncio.wait_for(upstream.requests[0].hung_up.wait(), 1)


async def test_a_time_out_of_the_reader_is_the_readers(model: OpenAiChatModel) -> None:
    def emit(_: Sequence[Delta]) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await model.answer(a_request("ok"), emit)


async def test_many_answers_at_once_are_all_whole(model: OpenAiChatModel, upstream: Upstream) -> None:
    listeners = [Listener() for _ in range(60)]

    await asyncio.gather(*(listener.to(model, "ok:tokens=20,delay=0.005") for listener in listeners))

    assert {listener.text for listener in listeners} == {text(20)}


# Functions and pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["calls", "calls:whole=1"])
async def test_calls_of_functions_come_in_batches_of_their_own(model: OpenAiChatModel, behaviour: str) -> None:
    batches: list[Sequence[Delta]] = []

    completion = await model.answer(a_request(behaviour), batches.append)

    outline = Outline()
    for batch in batches:
        assert len({type(piece) for piece in batch}) == 1
        for piece in batch:
            outline.feed(piece)
    said, *calls = outline.items()
    assert completion.finish_reason == "tool_calls"
    assert getattr(said, "text", "") == "Let me see"
    assert calls == [
        FunctionCall(call_id="call_0", name="weather", arguments='{"city":"Köln"}'),
        FunctionCall(call_id="call_1", name="time", arguments='{"city":"Köln"}'),
    ]


async def test_arguments_without_end_are_cut(make_model: MakeModel) -> None:
    model = make_model(limits=replace(SHORT, longest_answer=20))
    batches: list[Sequence[Delta]] = []

    with pytest.raises(AnswerTooLong):
        await model.answer(a_request("calls"), batches.append)

    assert not any(isinstance(piece, CallPiece) for piece in batches[-1]) or len(batches) < 4


async def test_calls_results_pictures_and_options_are_told(model: OpenAiChatModel, upstream: Upstream) -> None:
    call = FunctionCall(call_id="call_1", name="weather", arguments="{}")
    picture = (TextPart("What?"), ImagePart("https://x/y.png", "low"))
    turns = [
        ChatTurn(role=Role.USER, text="What?", parts=picture),
        ChatTurn(role=Role.ASSISTANT, text="", calls=[call]),
        ChatTurn(role=Role.USER, text="Sunny", result_of="call_1"),
    ]

    batches: list[Sequence[Delta]] = []
    options = {"temperature": 0.5, "model": "other"}
    await model.answer(ChatRequest(model="ok", turns=turns, options=options), batches.append)

    body = upstream.requests[-1].body
    assert (body["model"], body["temperature"]) == ("ok", 0.5)
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
    ]
