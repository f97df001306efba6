"""A misbehaving server, and a model that asks it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import uvloop

from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, ChatTurn, Completion
from llm_backend.domain.answers import Continued, Delta
from llm_backend.domain.conversations import Role, Seam
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.llm.client import provider_client
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.openai import OpenAiChatModel
from llm_backend.infrastructure.llm.retry import RetryPolicy
from tests.http.clients import NO_CERTIFICATES
from tests.upstream import Upstream

OWN_KEY = "sk-own-key-of-the-user"
PROVIDER_KEY = "sk-key-of-the-provider"
LIMITS = AnswerLimits(longest_line=256 * 1024)


@dataclass
class Listener:
    """Keeps what is emitted."""

    batches: list[Sequence[Delta]] = field(default_factory=list)

    def __call__(self, batch: Sequence[Delta]) -> None:
        self.batches.append(batch)

    @property
    def text(self) -> str:
        return "".join(piece.text for batch in self.batches for piece in batch)

    @property
    def seams(self) -> list[Seam]:
        """Wherever another model went on."""
        return [batch[0].seam for batch in self.batches if isinstance(batch[0], Continued)]

    async def to(self, model: ChatModel, behaviour: str, *, key: str | None = None) -> Completion:
        return await model.answer(a_request(behaviour, key=key), self)


def a_request(model: str, *, key: str | None = None) -> ChatRequest:
    turns = [ChatTurn(role=Role.SYSTEM, text="Be brief"), ChatTurn(role=Role.USER, text="你好\u2028")]
    return ChatRequest(model=model, turns=turns, api_key=None if key is None else Secret(key))


class MakeModel(Protocol):
    def __call__(self, *, limits: AnswerLimits = ..., **options: Any) -> OpenAiChatModel: ...


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both event loops that serve: uvloop's transports behave like asyncio's, but are not."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


# What each loop and each transport do is the same with either of the other, and our transport has tests of its own on
# both loops: so each is met once, in the pair in which a server or a program that embeds us most likely has it.
_MET_ELSEWHERE = ("[asyncio-httptools", "[uvloop-httpx")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    left_out = [
        item for item in items if here in item.path.parents and any(pair in item.name for pair in _MET_ELSEWHERE)
    ]
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    items[:] = [item for item in items if item not in gone]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


def plain_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=None, trust_env=False, verify=NO_CERTIFICATES)


@pytest.fixture(params=["httptools", "httpx"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """Over our transport, and over httpx's own, which serves TLS and proxies."""
    fast = request.param == "httptools"
    async with provider_client() if fast else plain_client() as client:
        yield client


@pytest.fixture
def make_model(upstream: Upstream, client: httpx.AsyncClient) -> MakeModel:
    def make(*, limits: AnswerLimits = LIMITS, **options: Any) -> OpenAiChatModel:
        settings: dict[str, Any] = {
            "base_url": upstream.base_url,
            "api_key": Secret(PROVIDER_KEY),
            "retries": RetryPolicy(first_wait=timedelta(0)),
        }
        return OpenAiChatModel(client=client, limits=limits, **{**settings, **options})

    return make


@pytest.fixture
def model(make_model: MakeModel) -> OpenAiChatModel:
    return make_model()
