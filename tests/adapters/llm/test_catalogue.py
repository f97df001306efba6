"""Which models there are: those that are written out, and those that providers list themselves."""

import asyncio
from collections.abc import Callable, Sequence

import httpx
import pytest

from llm_backend.application.ports.model_catalogue import ListedModel
from llm_backend.domain.errors import UpstreamFailed, UpstreamProtocolError, UpstreamRejectedKey, UpstreamUnavailable
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.llm.catalogue import KEPT, KEPT_SILENCE, CataloguedProvider, ConfiguredCatalogue
from llm_backend.infrastructure.llm.passing import OpenAiServer
from llm_backend.infrastructure.llm.retry import RetryPolicy


class Lister:
    """A provider's list that grows, unless it fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 0.0
        self.failure: UpstreamFailed | None = None

    async def __call__(self) -> Sequence[ListedModel]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return [ListedModel(id=f"gpt-{number}", owned_by="them") for number in range(self.asked)]


@pytest.fixture
def lister() -> Lister:
    return Lister()


def provider(lister: Lister, *patterns: str, name: str = "openai") -> CataloguedProvider:
    return CataloguedProvider(name, patterns, lister, lambda: lister.now)


async def names(*providers: CataloguedProvider, aliases: Sequence[str] = ()) -> list[str]:
    return [model.id for model in await ConfiguredCatalogue(providers, aliases).models()]


async def test_what_is_written_out_needs_no_asking(lister: Lister) -> None:
    assert await names(provider(lister, "one", "two"), aliases=["fast"]) == ["one", "two", "fast"]
    assert lister.asked == 0


async def test_of_a_list_only_what_is_served_counts(lister: Lister) -> None:
    lister.asked = 2

    assert await names(provider(lister, "gpt-[12]", "mine")) == ["mine", "gpt-1", "gpt-2"]


async def test_a_model_belongs_to_the_first_that_serves_it(lister: Lister) -> None:
    first = CataloguedProvider("first", ["gpt-0"])

    found = await ConfiguredCatalogue([first, provider(lister, "gpt-*")]).models()

    assert [(model.id, model.owned_by) for model in found] == [("gpt-0", "first")]


async def test_a_list_is_believed_for_a_while(lister: Lister) -> None:
    openai = provider(lister, "*")

    first, second = await names(openai), await names(openai)
    lister.now += KEPT
    third = await names(openai)

    assert first == second == ["gpt-0"]
    assert third == ["gpt-0", "gpt-1"]


async def test_those_who_ask_at_the_same_time_ask_once(lister: Lister) -> None:
    openai = provider(lister, "*")

    await asyncio.gather(*(names(openai) for _ in range(10)))

    assert lister.asked == 1


async def test_while_a_provider_is_silent_its_last_list_counts(lister: Lister) -> None:
    openai = provider(lister, "*")
    before = await names(openai)
    lister.failure = UpstreamUnavailable()
    lister.now += KEPT

    meanwhile = [await names(openai) for _ in range(3)]
    asked, lister.failure = lister.asked, None
    lister.now += KEPT_SILENCE
    after = await names(openai)

    assert meanwhile == [before] * 3
    assert asked == 2  # not again at once
    assert len(after) == 3


# What a server says --------------------------------------------------------------------------------------------------

Answer = Callable[[httpx.Request], httpx.Response]


async def listed_by(answer: Answer) -> Sequence[ListedModel]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        server = OpenAiServer(
            client=client,
            base_url="http://provider.example/v1",
            name="provider",
            api_key=Secret("sk-of-the-server"),
            retries=RetryPolicy(attempts=3),
        )
        return await server.models()


async def test_a_server_is_asked_for_its_models_with_its_key() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        entries = [{"id": "a", "owned_by": "them", "created": 5}, {"id": "b"}, {"name": "no id"}, 7]
        return httpx.Response(200, json={"object": "list", "data": entries})

    found = await listed_by(answer)

    assert found == [ListedModel(id="a", owned_by="them", created=5), ListedModel(id="b", owned_by="provider")]
    assert str(asked[0].url) == "http://provider.example/v1/models"
    assert asked[0].headers["authorization"] == "Bearer sk-of-the-server"


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (httpx.Response(200, content=b"no list"), UpstreamProtocolError),
        (httpx.Response(200, json={"data": "none"}), UpstreamProtocolError),
        (httpx.Response(401), UpstreamRejectedKey),
        (httpx.Response(503), UpstreamUnavailable),
    ],
)
async def test_what_is_no_list_is_a_failure_of_the_provider(
    reply: httpx.Response, failure: type[UpstreamFailed]
) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return reply

    with pytest.raises(failure):
        await listed_by(answer)

    assert len(asked) == 1
