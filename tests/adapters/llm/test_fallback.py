"""What becomes of an answer when its provider fails and another goes on, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llm_backend.application.ports.chat_model import ChatRequest, ChatTurn
from llm_backend.domain.answers import CallPiece, Delta
from llm_backend.domain.continuation import GO_ON
from llm_backend.domain.conversations import Role, Seam, TokenUsage
from llm_backend.domain.errors import (
    AnswerTooLong,
    UpstreamCutOff,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRejectedKey,
    UpstreamRejectedRequest,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llm_backend.domain.items import FunctionCall
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.llm.fallback import FallbackChatModel
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.retry import RetryPolicy
from llm_backend.infrastructure.llm.routed import Route, RoutedChatModel
from tests.adapters.llm.conftest import OWN_KEY, Listener, MakeModel, a_request
from tests.upstream import Upstream, text

SOON = 10  # seconds
SPARE_KEY = "sk-key-of-the-spare-provider"
SHORT = AnswerLimits(first_token=timedelta(seconds=2), idle=timedelta(seconds=0.5), longest_line=65536)
THREE = len(text(3))

MakeFallback = Callable[..., FallbackChatModel]


@pytest.fixture
async def spare() -> AsyncIterator[Upstream]:
    """The provider of the fallbacks, which are named after their behaviour."""
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
def with_fallbacks(make_model: MakeModel, spare: Upstream) -> MakeFallback:
    def make(
        *fallbacks: str,
        limits: AnswerLimits = SHORT,
        total: timedelta = timedelta(minutes=1),
        **options: Any,
    ) -> FallbackChatModel:
        once = RetryPolicy(attempts=1)
        spare_options = {"base_url": spare.base_url, "api_key": Secret(SPARE_KEY), "retries": once, **options}
        other = make_model(limits=limits, **spare_options)
        others = RoutedChatModel([Route(name="spare", patterns=["*"], model=other)])
        model = make_model(limits=limits, retries=once)
        return FallbackChatModel(model=model, fallbacks=fallbacks, others=others, total=total)

    return make


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("reset:after=3", "upstream_cut_off"),
        ("cut:after=3", "upstream_cut_off"),
        ("ends_early:after=3", "upstream_cut_off"),
        ("stall:after=3", "upstream_timeout"),
        ("garbage:after=3", "upstream_protocol_error"),
        ("endless_line:after=3", "upstream_protocol_error"),
        ("error_event:after=3", "upstream_unavailable"),
        ("error_event:after=3,code=429", "upstream_rate_limited"),
        ("error_event:after=3,code=400", "upstream_rejected_request"),
    ],
)
@pytest.mark.parametrize("fallback", ["ok", "burst", "split:size=7", "ok:repeat=9", "ok:repeat=4", "no_options"])
async def test_an_answer_that_breaks_off_is_completed_and_the_seam_is_told(
    with_fallbacks: MakeFallback, behaviour: str, code: str, fallback: str
) -> None:
    listener = Listener()

    completion = await asyncio.wait_for(listener.to(with_fallbacks(fallback), behaviour), SOON)

    assert listener.text == text(10)
    assert listener.seams == [Seam(at=THREE, model=fallback, reason=code)]
    assert completion.finish_reason == "stop"


@pytest.mark.parametrize(
    "behaviour", ["500", "429", "401", "hangs", "slams", "page", "garbage:after=0", "headers_only"]
)
async def test_a_provider_that_fails_before_its_first_piece_is_replaced(
    with_fallbacks: MakeFallback, spare: Upstream, behaviour: str
) -> None:
    listener = Listener()

    completion = await asyncio.wait_for(listener.to(with_fallbacks("ok"), behaviour), SOON)

    assert listener.text == text(10)
    assert [(seam.at, seam.model) for seam in listener.seams] == [(0, "ok")]
    assert completion.usage == TokenUsage(prompt=7, completion=10)
    assert spare.requests[0].body["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "你好\u2028"},
    ]


async def test_without_a_failure_nobody_else_is_asked(with_fallbacks: MakeFallback, spare: Upstream) -> None:
    listener = Listener()

    await listener.to(with_fallbacks("ok"), "ok")

    assert (listener.text, listener.seams, spare.requests) == (text(10), [], [])


async def test_a_fallback_is_shown_the_text_so_far_and_told_to_go_on(
    with_fallbacks: MakeFallback, spare: Upstream
) -> None:
    await Listener().to(with_fallbacks("ok"), "cut:after=3")

    assert spare.requests[0].body["messages"][1:] == [
        {"role": "user", "content": "你好\u2028"},
        {"role": "assistant", "content": text(3)},
        {"role": "user", "content": GO_ON},
    ]


async def test_fallbacks_are_asked_in_their_order_until_one_completes_the_answer(with_fallbacks: MakeFallback) -> None:
    listener = Listener()

    await listener.to(with_fallbacks("cut:after=5", "500", "garbage:after=8", "ok", "burst"), "cut:after=3")

    assert listener.text == text(10)
    assert listener.seams == [
        Seam(at=THREE, model="cut:after=5", reason="upstream_cut_off"),
        Seam(at=len(text(5)), model="garbage:after=8", reason="upstream_cut_off"),
        Seam(at=len(text(8)), model="ok", reason="upstream_protocol_error"),
    ]


@pytest.mark.parametrize(
    ("fallbacks", "told", "failure"),
    [
        ([], text(3), UpstreamCutOff),
        (["500", "401", "400", "hangs"], text(3), UpstreamCutOff),
        (["garbage:after=5", "500"], text(5), UpstreamProtocolError),
        (["burst:tokens=3"], text(3), UpstreamCutOff),  # it has nothing to add, and nobody knows what is missing
    ],
)
async def test_when_nobody_completes_an_answer_it_fails_as_whoever_wrote_last(
    with_fallbacks: MakeFallback, fallbacks: Sequence[str], told: str, failure: type[UpstreamFailed]
) -> None:
    listener = Listener()

    with pytest.raises(failure):
        await asyncio.wait_for(listener.to(with_fallbacks(*fallbacks), "cut:after=3"), SOON)

    assert listener.text == told


@pytest.mark.parametrize(
    ("behaviour", "key", "failure"),
    [("400", None, UpstreamRejectedRequest), ("401", OWN_KEY, UpstreamRejectedKey)],
)
async def test_what_the_user_can_change_is_told_the_user(
    with_fallbacks: MakeFallback, spare: Upstream, behaviour: str, key: str | None, failure: type[UpstreamFailed]
) -> None:
    with pytest.raises(failure):
        await Listener().to(with_fallbacks("ok"), behaviour, key=key)

    assert spare.requests == []


@pytest.mark.parametrize("behaviour", ["500", "cut:after=3"])
async def test_a_users_own_key_stays_with_its_provider(
    with_fallbacks: MakeFallback, upstream: Upstream, spare: Upstream, behaviour: str
) -> None:
    await Listener().to(with_fallbacks("ok"), behaviour, key=OWN_KEY)

    assert upstream.requests[0].headers["authorization"] == f"Bearer {OWN_KEY}"
    assert spare.requests[0].headers["authorization"] == f"Bearer {SPARE_KEY}"
    assert OWN_KEY not in f"{spare.requests[0].headers} {spare.requests[0].body}"


async def test_a_fallback_without_a_key_of_the_servers_is_passed_over(
    with_fallbacks: MakeFallback, spare: Upstream
) -> None:
    with pytest.raises(UpstreamCutOff):
        await Listener().to(with_fallbacks("ok", api_key=None), "cut:after=3", key=OWN_KEY)

    assert spare.requests == []


async def test_a_fallback_gets_as_much_of_the_past_as_fits_its_window(
    with_fallbacks: MakeFallback, spare: Upstream
) -> None:
    past = [
        ChatTurn(role=role, text=f"{number} " + "word " * 200)
        for number, role in enumerate([Role.USER, Role.ASSISTANT] * 4)
    ]
    turns = [ChatTurn(role=Role.SYSTEM, text="Be brief"), *past, ChatTurn(role=Role.USER, text="Now?")]
    request = ChatRequest(model="cut:after=3", turns=turns)

    await with_fallbacks("ok", window=1200).answer(request, Listener())

    sent = [message["content"] for message in spare.requests[0].body["messages"]]
    assert sent == ["Be brief", past[-2].text, past[-1].text, "Now?", text(3), GO_ON]


async def test_a_fallback_whose_window_is_too_small_is_passed_over(
    with_fallbacks: MakeFallback, spare: Upstream
) -> None:
    with pytest.raises(UpstreamCutOff):
        await Listener().to(with_fallbacks("ok", window=100), "cut:after=3")

    assert spare.requests == []


async def test_the_limit_of_length_holds_for_the_whole_answer(with_fallbacks: MakeFallback, spare: Upstream) -> None:
    listener, endless = Listener(), Listener()
    model = with_fallbacks("endless_answer", "ok", limits=replace(SHORT, longest_answer=10_000))

    with pytest.raises(AnswerTooLong):
        await asyncio.wait_for(listener.to(model, "cut:after=3"), SOON)
    with pytest.raises(AnswerTooLong):
        await asyncio.wait_for(endless.to(model, "endless_answer"), SOON)

    assert (len(listener.text), len(endless.text)) == (10_000, 10_000)
    assert len(spare.requests) == 1


async def test_the_limit_of_time_holds_for_the_whole_answer(with_fallbacks: MakeFallback, spare: Upstream) -> None:
    listener = Listener()
    model = with_fallbacks("ok:tokens=1000,delay=0.01", "ok", total=timedelta(seconds=2))

    with pytest.raises(UpstreamTimeout):
        await asyncio.wait_for(listener.to(model, "stall:after=3"), SOON)

    assert len(listener.seams) == 1
    assert len(spare.requests) == 1
    await asyncio.wait_for(spare.requests[0].hung_up.wait(), 1)


@pytest.mark.parametrize("fallback", ["hangs", "stall:after=5"])
async def test_cancelling_reaches_whoever_is_writing(
    with_fallbacks: MakeFallback, spare: Upstream, fallback: str
) -> None:
    answer = asyncio.ensure_future(Listener().to(with_fallbacks(fallback, "ok", limits=AnswerLimits()), "cut:after=3"))
    request = await asyncio.wait_for(spare.arrived(), SOON)

    answer.cancel()
    await asyncio.wait_for(request.hung_up.wait(), 1)

    with pytest.raises(asyncio.CancelledError):
        await answer
    assert len(spare.requests) == 1


@pytest.mark.parametrize("batches", [1, 2])
async def test_an_error_of_the_reader_is_no_failure_of_a_provider(
    with_fallbacks: MakeFallback, spare: Upstream, batches: int
) -> None:
    """Though it looks like one."""
    read: list[Sequence[Delta]] = []

    def emit(batch: Sequence[Delta]) -> None:
        read.append(batch)
        if len(read) == batches:
            raise UpstreamUnavailable("enough")

    with pytest.raises(UpstreamUnavailable, match="enough"):
        await with_fallbacks("burst", "ok").answer(a_request("reset:after=1"), emit)

    assert len(read) == batches
    assert len(spare.requests) == batches - 1


async def test_nobody_goes_on_in_the_middle_of_a_call(with_fallbacks: MakeFallback, spare: Upstream) -> None:
    model = with_fallbacks("ok")
    batches: list[Sequence[Delta]] = []

    with pytest.raises(UpstreamCutOff):
        await model.answer(a_request("calls:cut=1"), batches.append)

    assert isinstance(batches[-1][0], CallPiece)
    assert spare.requests == []


async def test_options_and_calls_go_along_to_the_fallback(with_fallbacks: MakeFallback, spare: Upstream) -> None:
    call = FunctionCall(call_id="call_1", name="weather", arguments="{}")
    turns = [
        ChatTurn(role=Role.USER, text="Weather?"),
        ChatTurn(role=Role.ASSISTANT, text="", calls=[call]),
        ChatTurn(role=Role.USER, text="Sunny", result_of="call_1"),
    ]
    request = ChatRequest(model="503", turns=turns, options={"temperature": 0.5})
    batches: list[Sequence[Delta]] = []

    await with_fallbacks("ok").answer(request, batches.append)

    body = spare.requests[0].body
    assert body["temperature"] == 0.5
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool"]
