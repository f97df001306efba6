"""When a provider is left alone, and when it is asked again."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from llm_backend.application.ports.chat_model import ChatRequest, Completion, Emit
from llm_backend.bootstrap.language_models import language_models
from llm_backend.config import Settings
from llm_backend.domain.errors import (
    AnswerTooLong,
    UpstreamCutOff,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRateLimited,
    UpstreamRejectedKey,
    UpstreamRejectedRequest,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llm_backend.infrastructure.llm.breaker import LONGEST_COOL_DOWN, Breaker, BreakingChatModel
from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel
from tests.adapters.llm.conftest import OWN_KEY, Listener, a_request
from tests.upstream import Upstream

COOL_DOWN = timedelta(seconds=30)
A_MOMENT = timedelta(seconds=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def provider() -> ScriptedChatModel:
    return ScriptedChatModel()


@pytest.fixture
def model(provider: ScriptedChatModel, clock: ManualClock) -> BreakingChatModel:
    """It breaks at the third failure."""
    breaker = Breaker(name="provider", failures=3, cool_down=COOL_DOWN, monotonic=clock.monotonic)
    return BreakingChatModel(provider, breaker)


async def fails(
    model: BreakingChatModel, provider: ScriptedChatModel, *failures: UpstreamFailed, key: str | None = None
) -> None:
    """The provider fails in these ways, one after the other."""
    for failure in failures:
        provider.play_next(failure)
        with pytest.raises(type(failure)):
            await Listener().to(model, "some-model", key=key)


async def is_asked(model: BreakingChatModel, provider: ScriptedChatModel) -> bool:
    """Whether a request gets through, all being well."""
    before = len(provider.requests)
    try:
        await Listener().to(model, "some-model")
    except UpstreamUnavailable:
        assert len(provider.requests) == before
        return False
    return True


@pytest.mark.parametrize("breaker", [None, {"failures": None}])
async def test_without_a_breaker_a_provider_is_always_asked(upstream: Upstream, breaker: object) -> None:
    provider = {"name": "a", "base_url": upstream.base_url, "models": ["*"], "needs_key": False}
    settings = Settings.from_mapping({"llm": {"providers": [provider], "breaker": breaker, "retries": 0}})

    async with AsyncExitStack() as stack:
        model = language_models(settings, ManualClock(), CountingIds(), stack).chat_model
        for _ in range(8):
            with pytest.raises(UpstreamUnavailable):
                await Listener().to(model, "503")

    assert len(upstream.requests) == 8


@pytest.mark.parametrize(
    "failure",
    [UpstreamUnavailable, UpstreamTimeout, UpstreamCutOff, UpstreamProtocolError, UpstreamRateLimited],
)
async def test_a_provider_that_fails_again_and_again_is_left_alone(
    model: BreakingChatModel, provider: ScriptedChatModel, failure: type[UpstreamFailed]
) -> None:
    await fails(model, provider, *(failure() for _ in range(3)))

    assert model.breaker.is_open
    assert not await is_asked(model, provider)


async def test_a_success_between_failures_makes_up_for_them(
    model: BreakingChatModel, provider: ScriptedChatModel
) -> None:
    for _ in range(3):
        await fails(model, provider, UpstreamTimeout(), UpstreamCutOff())
        assert await is_asked(model, provider)

    assert not model.breaker.is_open


@pytest.mark.parametrize("failure", [UpstreamRejectedKey, UpstreamRejectedRequest, AnswerTooLong])
async def test_what_is_not_its_fault_is_a_sign_of_life(
    model: BreakingChatModel, provider: ScriptedChatModel, failure: type[UpstreamFailed]
) -> None:
    await fails(model, provider, UpstreamTimeout(), UpstreamTimeout(), *(failure() for _ in range(9)))
    await fails(model, provider, UpstreamTimeout(), UpstreamTimeout())

    assert not model.breaker.is_open


async def test_the_limit_of_somebodys_own_key_is_nobody_elses(
    model: BreakingChatModel, provider: ScriptedChatModel
) -> None:
    await fails(model, provider, *(UpstreamRateLimited() for _ in range(9)), key=OWN_KEY)

    assert await is_asked(model, provider)


async def test_an_answer_that_is_stopped_says_nothing(model: BreakingChatModel, provider: ScriptedChatModel) -> None:
    await fails(model, provider, UpstreamTimeout(), UpstreamTimeout())
    await stopped(model, provider)
    await fails(model, provider, UpstreamTimeout())

    assert model.breaker.is_open


async def stopped(model: BreakingChatModel, provider: ScriptedChatModel) -> None:
    """An answer is stopped before its first piece."""
    provider.play_next(FOREVER)
    answer = asyncio.ensure_future(Listener().to(model, "some-model"))
    await provider.asked(len(provider.requests) + 1)
    answer.cancel()
    await asyncio.wait([answer])


async def test_after_the_cool_down_all_is_well_if_the_trial_is(
    model: BreakingChatModel, provider: ScriptedChatModel, clock: ManualClock
) -> None:
    await fails(model, provider, *(UpstreamTimeout() for _ in range(3)))

    clock.advance(COOL_DOWN - A_MOMENT)
    early = await is_asked(model, provider)
    clock.advance(A_MOMENT)
    in_time = await is_asked(model, provider)
    await fails(model, provider, UpstreamTimeout(), UpstreamTimeout())

    assert (early, in_time) == (False, True)
    assert not model.breaker.is_open


async def test_a_trial_that_fails_begins_another_cool_down(
    model: BreakingChatModel, provider: ScriptedChatModel, clock: ManualClock
) -> None:
    await fails(model, provider, *(UpstreamTimeout() for _ in range(3)))
    clock.advance(COOL_DOWN)
    await fails(model, provider, UpstreamTimeout())

    clock.advance(COOL_DOWN - A_MOMENT)

    assert not await is_asked(model, provider)


async def test_during_a_trial_nobody_else_is_let_in_until_its_first_piece(
    model: BreakingChatModel, provider: ScriptedChatModel, clock: ManualClock
) -> None:
    await fails(model, provider, *(UpstreamTimeout() for _ in range(3)))
    clock.advance(COOL_DOWN)
    begin, end = asyncio.Event(), asyncio.Event()
    provider.play_next(begin, "Well", end)
    listener = Listener()
    trial = asyncio.ensure_future(listener.to(model, "some-model"))
    await provider.asked(4)

    before = await is_asked(model, provider)
    begin.set()
    await until_it_says(listener, "Well")
    after = await is_asked(model, provider)
    end.set()
    await trial

    assert (before, after) == (False, True)


async def until_it_says(listener: Listener, text: str) -> None:
    while listener.text != text:  # noqa: ASYNC110 - the model runs in this loop and needs no time
        await asyncio.sleep(0)


async def test_a_trial_that_begins_well_and_breaks_off_is_one_failure_too_many(
    model: BreakingChatModel, provider: ScriptedChatModel, clock: ManualClock
) -> None:
    await fails(model, provider, *(UpstreamTimeout() for _ in range(3)))
    clock.advance(COOL_DOWN)
    provider.play_next("Well", UpstreamCutOff())

    with pytest.raises(UpstreamCutOff):
        await Listener().to(model, "some-model")

    assert model.breaker.is_open


async def test_a_trial_that_is_stopped_leaves_room_for_the_next(
    model: BreakingChatModel, provider: ScriptedChatModel, clock: ManualClock
) -> None:
    await fails(model, provider, *(UpstreamTimeout() for _ in range(3)))
    clock.advance(COOL_DOWN)
    await stopped(model, provider)

    assert await is_asked(model, provider)


@pytest.mark.parametrize(
    ("asked_for", "waited"),
    [
        (timedelta(seconds=5), COOL_DOWN),
        (timedelta(minutes=2), timedelta(minutes=2)),
        (timedelta(days=9), LONGEST_COOL_DOWN),
    ],
)
async def test_a_provider_gets_the_time_that_it_asks_for_within_reason(
    model: BreakingChatModel, provider: ScriptedChatModel, clock: ManualClock, asked_for: timedelta, waited: timedelta
) -> None:
    await fails(model, provider, *(UpstreamRateLimited(retry_after=asked_for) for _ in range(3)))

    clock.advance(waited - A_MOMENT)
    early = await is_asked(model, provider)
    clock.advance(A_MOMENT)

    assert not early
    assert await is_asked(model, provider)


async def test_answers_from_before_do_not_prolong_the_cool_down(
    model: BreakingChatModel, provider: ScriptedChatModel, clock: ManualClock
) -> None:
    late = asyncio.Event()
    provider.play_next(late, UpstreamTimeout())
    straggler = asyncio.ensure_future(Listener().to(model, "some-model"))
    await provider.asked()
    await fails(model, provider, *(UpstreamTimeout() for _ in range(3)))

    clock.advance(COOL_DOWN - A_MOMENT)
    late.set()
    await asyncio.wait([straggler])
    clock.advance(A_MOMENT)

    assert await is_asked(model, provider)


async def test_while_all_is_well_it_stays_out_of_the_way() -> None:
    """No wrapper around `emit`: that would be a call more for each read."""
    seen: list[Emit] = []

    class Looking(ScriptedChatModel):
        async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
            seen.append(emit)
            return await super().answer(request, emit)

    emit = Listener()
    await BreakingChatModel(Looking(), Breaker(name="provider")).answer(a_request("some-model"), emit)

    assert seen == [emit]
