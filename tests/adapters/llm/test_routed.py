"""Who answers."""

import random
from collections import Counter

import pytest

from llm_backend.domain.errors import ApiKeyRequired, UnknownModel
from llm_backend.infrastructure.llm.routed import Route, RoutedChatModel
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.adapters.llm.conftest import Listener


@pytest.fixture
def routed() -> RoutedChatModel:
    return RoutedChatModel(
        [
            Route(name="a", patterns=["gpt-4*"], model=ScriptedChatModel("a", window=1, key_required=True)),
            Route(name="b", patterns=["gpt-*", "o?"], model=ScriptedChatModel("b", window=2)),
        ]
    )


@pytest.mark.parametrize(("model", "answer"), [("gpt-4o", "a"), ("gpt-3", "b"), ("o3", "b")])
async def test_the_first_whose_patterns_match_serves(routed: RoutedChatModel, model: str, answer: str) -> None:
    listener = Listener()

    await listener.to(routed, model, key="sk-1")

    assert listener.text == answer
    assert routed.window(model) == (1 if answer == "a" else 2)


@pytest.mark.parametrize("model", ["GPT-4o", "xgpt-4", "o10", "", "gpt_4"])
async def test_what_nobody_serves_is_unknown(routed: RoutedChatModel, model: str) -> None:
    with pytest.raises(UnknownModel):
        routed.check(model, own_key=True)
    with pytest.raises(UnknownModel):
        routed.window(model)
    with pytest.raises(UnknownModel):
        await Listener().to(routed, model)


def test_a_missing_key_is_told_by_who_serves(routed: RoutedChatModel) -> None:
    with pytest.raises(ApiKeyRequired):
        routed.check("gpt-4o", own_key=False)
    routed.check("gpt-4o", own_key=True)
    routed.check("gpt-3", own_key=False)


def equal(name: str, weight: int | None, *, well: bool = True, key_required: bool = False, window: int = 9) -> Route:
    """One of several that serve `gpt-*` and `o?`, and whose answers are their names."""
    model = ScriptedChatModel(name, key_required=key_required, window=window)
    patterns = ["gpt-*", "o?"] if weight is None or weight % 2 else ["o?", "gpt-*"]
    return Route(name=name, patterns=patterns, model=model, weight=weight, is_well=lambda: well)


async def answers(*routes: Route, key: str | None = None, count: int = 400) -> Counter[str]:
    """How often who answers."""
    routed = RoutedChatModel(routes, random.Random(7))
    listener = Listener()
    for _ in range(count):
        await listener.to(routed, "gpt-4o", key=key)
    return Counter(batch[0].text for batch in listener.batches)


async def test_equals_share_the_answers_by_weight() -> None:
    drawn = await answers(equal("a", 3), equal("b", 1), Route(name="c", patterns=["*"], model=ScriptedChatModel("c")))

    assert drawn.keys() == {"a", "b"}
    assert 250 < drawn["a"] < 350


async def test_without_a_weight_or_with_other_patterns_nobody_is_an_equal() -> None:
    other = Route(name="c", patterns=["gpt-*"], model=ScriptedChatModel("c"), weight=9)

    assert await answers(equal("a", 1), equal("b", None), other, count=50) == {"a": 50}
    assert await answers(equal("b", None), equal("a", 1), count=50) == {"b": 50}


async def test_who_is_not_well_is_spared_unless_all_are() -> None:
    ill, worse = equal("a", 9, well=False), equal("b", 1, well=False)

    assert await answers(ill, equal("c", 1), count=50) == {"c": 50}
    assert (await answers(ill, worse)).keys() == {"a", "b"}


async def test_among_equals_only_those_with_a_key_are_asked_and_a_users_own_is_for_the_first() -> None:
    without, other = equal("a", 9, key_required=True), equal("b", 1)

    assert await answers(without, other, count=50) == {"b": 50}
    assert await answers(without, other, key="sk-1", count=50) == {"a": 50}
    RoutedChatModel([without, other]).check("gpt-4o", own_key=False)
    with pytest.raises(ApiKeyRequired):
        RoutedChatModel([without, without]).check("gpt-4o", own_key=False)


def test_the_window_of_equals_is_the_smallest() -> None:
    assert RoutedChatModel([equal("a", 1, window=8), equal("b", 1, window=5)]).window("o3") == 5
