"""Every chat model keeps the contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.domain.errors import UpstreamCutOff, UpstreamUnavailable
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.llm.client import provider_client
from llm_backend.infrastructure.llm.demo import DemoChatModel
from llm_backend.infrastructure.llm.openai import OpenAiChatModel
from llm_backend.infrastructure.llm.retry import RetryPolicy
from llm_backend.infrastructure.llm.routed import Route, RoutedChatModel
from llm_backend.testing.contracts.chat_model import ChatModelContract, FailingChatModelContract
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
