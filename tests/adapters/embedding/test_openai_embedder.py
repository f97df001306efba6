import json
import zlib
from array import array
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import sqrt

import httpx
import pytest

from llm_backend.application.ports.embedder import Embedder
from llm_backend.domain.errors import EmbeddingFailed, EmbeddingKeyRejected
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.embedding.openai import OpenAiEmbedder
from llm_backend.infrastructure.embedding.texts import Wording
from llm_backend.testing.contracts.embedder import EmbedderContract

SPACE = EmbeddingSpace(model="ours", dimensions=8)
KEY = "sk-very-secret"


class Server:
    """Answers with what it was told to, in that order, then properly; keeps what it was asked."""

    def __init__(self, *replies: httpx.Response | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        match self.replies.pop(0) if self.replies else None:
            case None:
                return vectors([numbers_of(text) for text in json.loads(request.content)["input"]])
            case Exception() as error:
                raise error
            case httpx.Response() as reply:
                return reply

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def embedder(
        self, *, batch: int = 32, api_key: Secret | None = None, wording: Wording | None = None
    ) -> OpenAiEmbedder:
        return OpenAiEmbedder(
            client=httpx.AsyncClient(transport=httpx.MockTransport(self)),
            base_url="https://models.example/v1/",
            model="theirs",
            space=SPACE,
            api_key=api_key,
            batch=batch,
            wording=wording,
            sleep=self.wait,
        )


def numbers_of(text: str) -> list[float]:
    """Not of length 1: servers need not care."""
    return [1.0 + (zlib.crc32(f"{text}{number}".encode()) % 100) for number in range(8)]


def vectors(rows: Sequence[Sequence[float]], status: int = 200) -> httpx.Response:
    entries = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return httpx.Response(status, json={"object": "list", "data": entries, "usage": {"total_tokens": 3}})


@pytest.fixture
def embedder() -> Embedder:
    return Server().embedder()


class TestOpenAiEmbedder(EmbedderContract):
    pass


async def test_the_request_is_what_such_servers_expect() -> None:
    server = Server()

    await server.embedder(api_key=Secret(KEY)).embed_query("hello")

    (request,) = server.requests
    assert str(request.url) == "https://models.example/v1/embeddings"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(request.content) == {
        "model": "theirs",
        "input": ["hello"],
        "encoding_format": "float",
        "dimensions": 8,
    }


async def test_without_a_key_none_is_sent() -> None:
    server = Server()

    await server.embedder().embed_query("hello")

    assert "authorization" not in server.requests[0].headers


async def test_texts_go_in_batches_that_are_neither_too_many_nor_too_long() -> None:
    server = Server()
    texts = ["a", "b", "c", "x" * 60_000, "y" * 60_000, "z" * 200_000]

    embedded = await server.embedder(batch=2).embed_document(texts)

    sizes = [[len(text) for text in json.loads(request.content)["input"]] for request in server.requests]
    assert sizes == [[1, 1], [1, 60_000], [60_000], [200_000]]
    assert len(embedded.vectors) == 6


async def test_vectors_are_put_into_the_order_of_the_texts_and_made_unit_vectors() -> None:
    swapped = {"data": [{"index": 1, "embedding": [0, 2] + [0] * 6}, {"index": 0, "embedding": [3, 4] + [0] * 6}]}
    server = Server(httpx.Response(200, json=swapped))

    embedded = await server.embedder().embed_document(["first", "second"])

    assert [list(array("f", vector))[:2] for vector in embedded.vectors] == [
        pytest.approx([0.6, 0.8]),
        pytest.approx([0.0, 1.0]),
    ]


async def test_a_server_that_numbers_nothing_keeps_the_order() -> None:
    rows = {"data": [{"embedding": [1] + [0] * 7}, {"embedding": [0, 1] + [0] * 6}]}

    embedded = await Server(httpx.Response(200, json=rows)).embedder().embed_document(["first", "second"])

    assert [vector[:4] == array("f", [1]).tobytes() for vector in embedded.vectors] == [True, False]


async def test_blank_texts_are_not_sent() -> None:
    server = Server()

    embedded = await server.embedder().embed_document(["", "word", " \n"])

    assert json.loads(server.requests[0].content)["input"] == ["word"]
    assert [any(vector) for vector in embedded.vectors] == [False, True, False]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_failures_that_may_pass_are_waited_for(status: int) -> None:
    server = Server(httpx.Response(status, text="busy"), httpx.Response(status, text="busy"))

    embedded = await server.embedder().embed_document(["hello"])

    assert len(embedded.vectors) == 1
    assert len(server.waits) == 2
    assert 0.25 <= server.waits[0] <= 0.5 <= server.waits[1] <= 1


@pytest.mark.parametrize("error", [httpx.ConnectError("no"), httpx.ReadError("cut"), httpx.ReadTimeout("slow")])
async def test_a_connection_that_fails_is_tried_again(error: Exception) -> None:
    assert len((await Server(error).embedder().embed_document(["hello"])).vectors) == 1


async def test_the_server_says_how_long_to_wait() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server = Server(
        httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(503, headers={"retry-after": soon})
    )

    await server.embedder().embed_document(["hello"])

    assert server.waits[0] == 7
    assert 20 < server.waits[1] <= 30


async def test_a_server_that_asks_for_too_long_a_wait_is_given_up() -> None:
    server = Server(httpx.Response(429, headers={"retry-after": "3600"}))

    with pytest.raises(EmbeddingFailed):
        await server.embedder().embed_document(["hello"])

    assert not server.waits


async def test_trying_ends() -> None:
    server = Server(*[httpx.Response(503) for _ in range(50)])

    with pytest.raises(EmbeddingFailed):
        await server.embedder().embed_document(["hello"])

    assert len(server.requests) == 5


async def test_a_question_does_not_wait_for_long() -> None:
    server = Server(*[httpx.Response(503) for _ in range(50)])

    with pytest.raises(EmbeddingFailed):
        await server.embedder().embed_query("hello")

    assert len(server.requests) == 2
    assert sum(server.waits) <= 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_failures_that_stay_are_not_tried_again(status: int) -> None:
    server = Server(httpx.Response(status))

    with pytest.raises(EmbeddingFailed):
        await server.embedder().embed_document(["hello"])

    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_said_to_be(status: int) -> None:
    server = Server(httpx.Response(status, text=KEY))

    with pytest.raises(EmbeddingKeyRejected) as failure:
        await server.embedder(api_key=Secret(KEY)).embed_query("hello")

    assert len(server.requests) == 1
    assert KEY not in str(failure.value)


async def test_a_model_that_refuses_to_be_told_its_dimensions_is_not_told_again() -> None:
    server = Server(httpx.Response(400, json={"error": {"message": "dimensions is not supported"}}))
    embedder = server.embedder()

    await embedder.embed_query("hello")
    await embedder.embed_query("hello again")

    assert ["dimensions" in json.loads(request.content) for request in server.requests] == [True, False, False]


async def test_a_date_that_is_none_is_no_wish() -> None:
    server = Server(httpx.Response(429, headers={"retry-after": "Thu, 01 Jan 99999999999999999999 12:00:30 GMT"}))

    await server.embedder().embed_query("hello")

    assert len(server.requests) == 2


async def test_redirects_are_not_followed() -> None:
    server = Server(httpx.Response(307, headers={"location": "https://elsewhere.example/embeddings"}))

    with pytest.raises(EmbeddingFailed):
        await server.embedder(api_key=Secret(KEY)).embed_document(["hello"])

    assert [request.url.host for request in server.requests] == ["models.example"]


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, content=b""),
        httpx.Response(200, content=b"not json"),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"error": {"message": KEY}}),
        httpx.Response(200, json={"data": None}),
        httpx.Response(200, json={"data": [{"embedding": "AAAA"}]}),
        httpx.Response(200, content=b'{"data":[{"embedding":[NaN,0,0,0,0,0,0,0]}]}'),
        httpx.Response(200, content=b'{"data":[{"embedding":[1e999,0,0,0,0,0,0,0]}]}'),
        httpx.Response(200, content=b'{"data":[{"embedding":[1e308,1e308,1e308,1e308,0,0,0,0]}]}'),
        httpx.Response(200, json={"data": [{"index": 1, "embedding": [1.0] * 8}]}),
        httpx.Response(200, content=b"[" * 100_000),
        httpx.Response(200, content=b'{"data":[],"usage":' + b"[" * 100_000),
        httpx.Response(200, content=b'{"data":[{"embedding":"\xff"}]}'),
        httpx.Response(200, content=b" " * 3_000_000),
        vectors([]),
        vectors([[1.0] * 8, [1.0] * 8]),
        vectors([[1.0] * 7]),
        vectors([[1.0] * 9]),
    ],
    ids=lambda reply: repr(reply.content[:40]),
)
async def test_a_reply_that_makes_no_sense_is_a_failure_that_tells_nothing(reply: httpx.Response) -> None:
    embedder = Server(reply).embedder(api_key=Secret(KEY))

    with pytest.raises(EmbeddingFailed) as failure:
        await embedder.embed_query("hello")

    assert KEY not in str(failure.value)
    assert "not json" not in str(failure.value)


async def test_two_vectors_for_the_same_text_are_refused() -> None:
    twice = {"data": [{"index": 0, "embedding": [1.0] * 8}, {"index": 0, "embedding": [1.0] * 8}]}

    with pytest.raises(EmbeddingFailed):
        await Server(httpx.Response(200, json=twice)).embedder().embed_document(["one", "two"])


async def test_tiny_numbers_still_have_a_direction() -> None:
    (vector,) = (await Server(vectors([[1e-30] * 8])).embedder().embed_document(["hello"])).vectors

    assert list(array("f", vector)) == pytest.approx([1 / sqrt(8)] * 8)


async def test_texts_that_are_too_long_together_are_sent_in_halves() -> None:
    server = PickyServer(longest_together=20)
    texts = [f"text {number}" for number in range(5)]

    embedded = await server.embedder().embed_document(texts)

    alone = [await Server().embedder().embed_query(text) for text in texts]
    assert list(embedded.vectors) == alone


async def test_of_a_text_that_is_too_long_by_itself_the_beginning_counts() -> None:
    server = PickyServer(longest_together=400)
    text = "".join(f"{number} " for number in range(400))

    vector = await server.embedder().embed_query(text)

    assert vector == await Server().embedder().embed_query(text[: len(text) // 4])


async def test_a_refusal_of_long_texts_does_not_change_how_the_server_is_asked() -> None:
    server = PickyServer(longest_together=400)

    await server.embedder().embed_query("a" * 1000)

    assert "dimensions" in json.loads(server.requests[-1].content)


async def test_who_refuses_everything_is_not_asked_for_ever() -> None:
    server = PickyServer(longest_together=0)

    with pytest.raises(EmbeddingFailed):
        await server.embedder().embed_document(["a" * 1000] * 32)

    assert len(server.requests) <= 2 * 8


async def test_vectors_may_come_in_base64() -> None:
    numbers = array("f", numbers_of("hello"))
    encoded = b64encode(numbers.tobytes()).decode()
    server = Server(httpx.Response(200, json={"data": [{"index": 0, "embedding": encoded}]}))

    assert await server.embedder().embed_query("hello") == await Server().embedder().embed_query("hello")


@pytest.mark.parametrize(
    "embedding",
    [
        "no base64!",
        b64encode(b"12345").decode(),
        b64encode(array("f", [float("nan")] * 8).tobytes()).decode(),
        b64encode(array("f", [float("inf")] * 8).tobytes()).decode(),
        b64encode(array("f", [1.0] * 7).tobytes()).decode(),
        [0.0] * 8,
        [1e400] * 8,
    ],
    ids=["no base64", "a part of a number", "NaN", "infinite", "too few", "zero", "too large"],
)
async def test_numbers_without_a_direction_are_refused(embedding: str | list[float]) -> None:
    body = json.dumps({"data": [{"index": 0, "embedding": embedding}]}).replace("Infinity", "1e400")
    server = Server(httpx.Response(200, text=body))

    with pytest.raises(EmbeddingFailed):
        await server.embedder().embed_query("hello")


async def test_a_model_is_sent_the_words_that_it_was_trained_with() -> None:
    server = Server()
    wording = Wording(query_prefix="query: ", document_prefix="passage: ", longest=12)
    embedder = server.embedder(wording=wording)

    await embedder.embed_query("what?")
    await embedder.embed_document(["this and that", " "])

    assert [json.loads(request.content)["input"] for request in server.requests] == [["query: what?"], ["passage: thi"]]


class PickyServer(Server):
    """Refuses requests of more than so many characters."""

    def __init__(self, *, longest_together: int) -> None:
        super().__init__()
        self.longest_together = longest_together

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if sum(map(len, json.loads(request.content)["input"])) > self.longest_together:
            self.replies.append(httpx.Response(400, json={"error": {"message": "too many tokens"}}))
        return super().__call__(request)
