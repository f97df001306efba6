"""Every chat model keeps the contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.domain.errors import UpstreamCutOff, UpstreamUnavailable
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.llm.breaker import Breaker, BreakingChatModel
from llm_backend.infrastructure.llm.client import provider_client
from llm_backend.infrastructure.llm.demo import DemoChatModel
from llm_backend.infrastructure.llm.fallback import FallbackChatModel
from llm_backend.infrastructure.llm.openai import OpenAiChatModel
from llm_backend.infrastructure.llm.retry import RetryPolicy
from llm_backend.infrastructure.llm.routed import Route, RoutedChatModel
from llm_backend.testing.contracts.chat_model import ChatModelContract, FailingChatModelContract, said
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.upstream import Upstream


@pytest.fixture
def name() -> str:
    return "demo"


class TestDemoChatModel(ChatModelContract):
    @pytest.fixture
    def model(self) -> ChatModel:
        return DemoChatModel(delay=timedelta(0))


class TestScriptedChatModel(ChatModelContract, FailingChatModelContract):
    @pytest.fixture
    def model(self) -> ChatModel:
        return ScriptedChatModel("What", ["is", "that"], "?")

    @pytest.fixture
    def failing(self) -> ChatModel:
        return ScriptedChatModel(UpstreamUnavailable())

    @pytest.fixture
    def breaking(self) -> ChatModel:
        return ScriptedChatModel("Well", UpstreamCutOff())


class TestRoutedChatModel(ChatModelContract):
    @pytest.fixture
    def model(self) -> ChatModel:
        return RoutedChatModel([Route(name="demo", patterns=["demo"], model=DemoChatModel(delay=timedelta(0)))])


class TestBreakingChatModel(ChatModelContract, FailingChatModelContract):
    @pytest.fixture
    def model(self) -> ChatModel:
        return BreakingChatModel(ScriptedChatModel("What", ["is", "that"], "?"), Breaker(name="demo"))

    @pytest.fixture
    def failing(self) -> ChatModel:
        return BreakingChatModel(ScriptedChatModel(UpstreamUnavailable()), Breaker(name="demo"))

    @pytest.fixture
    def breaking(self) -> ChatModel:
        return BreakingChatModel(ScriptedChatModel("Well", UpstreamCutOff()), Breaker(name="demo"))


class TestBreakingChatModelOnTrial(ChatModelContract):
    @pytest.fixture
    async def model(self) -> ChatModel:
        script = ScriptedChatModel("What", ["is", "that"], "?")
        model = BreakingChatModel(script, Breaker(name="demo", failures=1, cool_down=timedelta(0)))
        script.play_next(UpstreamUnavailable())
        with pytest.raises(UpstreamUnavailable):
            await said(model, "demo")
        return model


class TestFallbackChatModel(ChatModelContract, FailingChatModelContract):
    @pytest.fixture
    def model(self) -> ChatModel:
        return with_fallbacks(ScriptedChatModel("What", ["is", "that"], "?"), ScriptedChatModel())

    @pytest.fixture
    def failing(self) -> ChatModel:
        return with_fallbacks(ScriptedChatModel(UpstreamUnavailable()), ScriptedChatModel(UpstreamCutOff()))

    @pytest.fixture
    def breaking(self) -> ChatModel:
        return with_fallbacks(ScriptedChatModel("Well", UpstreamCutOff()), ScriptedChatModel("Well", UpstreamCutOff()))


class TestFallbackChatModelThatFallsBack(ChatModelContract):
    @pytest.fixture
    def model(self) -> ChatModel:
        whole = ScriptedChatModel("What", ["is", "that"], "?")
        return with_fallbacks(ScriptedChatModel("What", ["is"], UpstreamCutOff(), "that", "?"), whole)


def with_fallbacks(model: ChatModel, *others: ChatModel) -> ChatModel:
    names = [f"other-{number}" for number in range(len(others))]
    routes = [Route(name=name, patterns=[name], model=other) for name, other in zip(names, others, strict=True)]
    return FallbackChatModel(model=model, fallbacks=names, others=RoutedChatModel(routes), total=timedelta(minutes=1))


class TestOpenAiChatModel(ChatModelContract, FailingChatModelContract):
    @pytest.fixture
    async def model(self) -> AsyncIterator[ChatModel]:
        async with server("ok:delay=0.001") as model:
            yield model

    @pytest.fixture
    async def failing(self) -> AsyncIterator[ChatModel]:
        async with server("500") as model:
            yield model

    @pytest.fixture
    async def breaking(self) -> AsyncIterator[ChatModel]:
        async with server("cut:after=3") as model:
            yield model


@asynccontextmanager
async def server(behaviour: str) -> AsyncIterator[OpenAiChatModel]:
    retries = RetryPolicy(first_wait=timedelta(0))
    async with Upstream(behaviour) as upstream, provider_client() as client:
        yield OpenAiChatModel(client=client, base_url=upstream.base_url, api_key=Secret("sk-test"), retries=retries)
