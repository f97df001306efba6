"""Who answers."""

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
