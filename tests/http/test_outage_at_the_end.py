"""What clients see of an answer whose end the database does not take."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient, Response

from llm_backend.application.backend import Backend
from llm_backend.domain.errors import DatabaseUnavailable, UpstreamTimeout
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.testing.faults import Faults
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.apps import app_over
from tests.http.backends import memory_backend
from tests.http.clients import Client

SOON = 30.0  # seconds; what takes longer hangs
STRICT = {"Accept": "text/event-stream"}


@pytest.fixture
def faults() -> Faults:
    return Faults(error=DatabaseUnavailable, only={"finish", "withdraw"}, lasting=True)


@pytest.fixture
async def backend(tmp_path: Path, model: ScriptedChatModel, faults: Faults) -> AsyncIterator[Backend]:
    async with memory_backend(tmp_path, store=faults.wrap(MemoryStore()), chat_model=model) as backend:
        backend.drain.runner.keeper.patience = timedelta(0)
        yield backend
        faults.lasting = False


@pytest.fixture
async def alice(backend: Backend) -> AsyncIterator[Client]:
    with app_over(backend) as app:
        transport = ASGITransport(app)  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://test") as http:
            yield await Client(http).new_user()


async def coming_back(user: Client, path: str, **headers: str) -> Response:
    """Again and again, until the end has been stored."""
    async with asyncio.timeout(SOON):
        while "database_unavailable" in (reply := await user.get(path, headers=headers)).text:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
    return reply


async def test_the_failure_has_no_id_and_whoever_comes_back_gets_the_rest(
    alice: Client, model: ScriptedChatModel, faults: Faults
) -> None:
    conversation = await alice.new_conversation()
    model.play_next("some ", "text")

    broken = await alice.post(f"/api/chat/{conversation}", {"message": "Hello"}, headers=STRICT)
    faults.lasting = False
    last_id = re.findall(r"^id: (.*)$", broken.text, re.MULTILINE)[-1]
    rest = await coming_back(alice, f"/api/chat/{conversation}/stream", **STRICT, **{"Last-Event-ID": last_id})

    *_, failure, _ = broken.text.split("\n\n")
    assert failure.startswith("event: stream_error\n")
    assert "database_unavailable" in failure
    assert last_id.endswith(".2")
    assert re.findall(r"^event: (.*)$", rest.text, re.MULTILINE) == ["done", "full_response"]


async def test_before_the_first_word_it_is_a_status(alice: Client, model: ScriptedChatModel) -> None:
    conversation = await alice.new_conversation()
    model.play_next(UpstreamTimeout())

    refused = await alice.post(f"/api/chat/{conversation}", {"message": "Hello"}, headers=STRICT)

    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")


async def test_the_error_of_a_response_takes_no_number_either(
    alice: Client, model: ScriptedChatModel, faults: Faults
) -> None:
    model.play_next("some ", "text")

    broken = await alice.post("/v1/responses", {"model": "gpt-4o", "input": "Hello", "stream": True})
    faults.lasting = False
    kinds = re.findall(r"^event: (.*)$", broken.text, re.MULTILINE)
    numbers = [int(number) for number in re.findall(r'"sequence_number":(\d+)', broken.text)]
    (identifier, *_) = re.findall(r'"id":"(resp_\w+)"', broken.text)
    rest = await coming_back(alice, f"/v1/responses/{identifier}?stream=true&starting_after={numbers[-1]}")

    assert kinds[-1] == "error"
    assert numbers == [*range(len(kinds) - 1), len(kinds) - 2]
    assert re.findall(r'"sequence_number":(\d+)', rest.text)[:1] == [str(len(kinds) - 1)]
    assert rest.text.count("event: response.completed\n") == 1


async def test_whoever_comes_back_to_a_response_too_early_hears_of_it_again(
    alice: Client, model: ScriptedChatModel
) -> None:
    model.play_next("some ", "text")

    broken = await alice.post("/v1/responses", {"model": "gpt-4o", "input": "Hello", "stream": True})
    (identifier, *_) = re.findall(r'"id":"(resp_\w+)"', broken.text)
    again = await alice.get(f"/v1/responses/{identifier}?stream=true&starting_after=100")

    assert re.findall(r"^event: (.*)$", again.text, re.MULTILINE) == ["error"]
