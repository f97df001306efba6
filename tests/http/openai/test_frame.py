"""What all routes under /v1 have in common: who is let in, how errors look, and how lists do."""

from typing import Any

import pytest
from httpx import Response
from litestar import Litestar, get
from litestar.di import NamedDependency
from litestar.testing import AsyncTestClient

from llm_backend.application.conversation_items import NOWHERE, part_of
from llm_backend.application.recalling_items import placed
from llm_backend.domain.errors import ItemNotFound
from llm_backend.interface.http.openai.ids import CONVERSATION, VECTOR_STORE, number_in, numbered_id, uuid_id, uuid_in
from llm_backend.interface.http.openai.lists import Page, PageQuery, page_query, slice_of, sliced_page, values_of
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.testing.builders import a_message
from tests.http.clients import PASSWORD, Client


def error_of(reply: Response) -> dict[str, Any]:
    """The one form that all errors have."""
    assert reply.headers["x-request-id"]
    return as_error(reply.json())


def as_error(body: dict[str, Any]) -> dict[str, Any]:
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


# Who is let in -------------------------------------------------------------------------------------------------------


async def test_a_key_and_a_token_of_a_login_are_let_in(alice: Client) -> None:
    for client in (alice, await alice.with_key()):
        assert (await client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize("authorization", [None, "Bearer sk-none", "Bearer x.y.z", "Bearer ", "Basic x", "sk-none"])
async def test_nobody_else_is(client: Client, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}

    reply = await client.get("/v1/models", headers=headers)

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert error_of(reply)["code"] == "invalid_api_key"


async def test_a_deleted_key_and_those_of_before_a_new_password_are_dead(alice: Client) -> None:
    deleted, old = await alice.with_key(), await alice.with_key()
    newest = (await alice.get("/api/keys")).json()

    await alice.post("/api/keys/delete", {"key_id": newest[1]["key_id"]})
    one_is_dead = [(await client.get("/v1/models")).status_code for client in (deleted, old)]
    await alice.post("/api/users/password", {"old_password": PASSWORD, "new_password": "another"})

    assert one_is_dead == [401, 200]
    assert (await old.get("/v1/models")).status_code == 401


async def test_a_key_opens_nothing_outside_of_v1(alice: Client) -> None:
    key = await alice.with_key()

    assert (await key.get("/api/keys")).status_code == 401
    assert (await key.post("/api/users/logout")).status_code == 401


async def test_a_key_is_shown_once_and_listed_by_its_beginning(alice: Client) -> None:
    made = (await alice.post("/api/keys", {"name": "laptop", "scopes": ["chat"], "expires_at": 4_000_000_000})).json()

    (listed,) = (await alice.get("/api/keys")).json()

    assert made["key"].startswith(made["prefix"])
    assert made["key"] not in str(listed)
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["name"], listed["scopes"], listed["expires_at"]) == ("laptop", ["chat"], 4_000_000_000)


async def test_a_repeated_request_makes_one_key_and_cannot_show_it_again(alice: Client) -> None:
    headers = {"Idempotency-Key": "once"}

    first, second = [(await alice.post("/api/keys", {"name": "a"}, headers=headers)).json() for _ in range(2)]

    assert second == {**first, "key": None}
    assert len((await alice.get("/api/keys")).json()) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": ""}, "invalid_key_name"),
        ({"name": "a\nb"}, "invalid_key_name"),
        ({"name": "a", "expires_at": 1}, "invalid_key_expiry"),
        ({"name": "a", "scopes": ["everything"]}, "invalid_body"),
        ({"name": "a", "scopes": []}, "invalid_body"),  # which would look like a key that is good for nothing
        ({"name": "a", "expires_at": 10**18}, "invalid_body"),
    ],
)
async def test_keys_without_a_name_or_a_future_are_not_made(alice: Client, body: dict[str, Any], code: str) -> None:
    reply = await alice.post("/api/keys", body)

    assert (reply.status_code, reply.json()["code"]) == (400, code)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v1/nothing/at/all", "/v1/models/kb:no/such"])
async def test_what_does_not_exist_is_said_in_the_same_form(alice: Client, path: str) -> None:
    reply = await alice.get(path)

    assert reply.status_code == 404
    assert error_of(reply)["type"] == "not_found_error"


async def test_an_unknown_model_has_the_code_that_clients_know(alice: Client) -> None:
    for name in ("kb:no/such", "kb:a1b2c3d4-5678-90ab-cdef-123456789abc", "kb:"):
        assert error_of(await alice.get(f"/v1/models/{name}"))["code"] == "model_not_found"


async def test_a_wrong_method_names_the_right_ones(alice: Client) -> None:
    reply = await alice.post("/v1/models", {})

    assert reply.status_code == 405
    assert "GET" in reply.headers["allow"]
    assert error_of(reply)["code"] == "method_not_allowed"


async def test_other_families_keep_their_envelope(alice: Client) -> None:
    for path in ("/v11", "/api/v1", "/nothing"):
        assert (await alice.get(path)).json()["code"] == "route_not_found"


# Models --------------------------------------------------------------------------------------------------------------


async def test_models_are_those_of_the_configuration_and_the_users_knowledge_bases(alice: Client, bob: Client) -> None:
    mine, theirs = await alice.new_knowledge_base(), await bob.new_knowledge_base()

    page = (await alice.get("/v1/models")).json()

    ids = [model["id"] for model in page["data"]]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", ids[0], ids[-1], False)
    assert {"demo", "zhipu-embedding-3", f"kb:{mine}"} <= set(ids)
    assert f"kb:{theirs}" not in ids
    assert all(set(model) == {"id", "object", "created", "owned_by"} for model in page["data"])


async def test_each_listed_model_can_be_looked_at(alice: Client) -> None:
    await alice.new_knowledge_base()

    for model in (await alice.get("/v1/models")).json()["data"]:
        assert (await alice.get(f"/v1/models/{model['id']}")).json() == model


# Lists ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found", "has_more"),
    [
        ({}, "abcdefg", False),
        ({"limit": "3"}, "abc", True),
        ({"limit": "7"}, "abcdefg", False),
        ({"limit": "3", "after": "c"}, "def", True),
        ({"limit": "3", "after": "e"}, "fg", False),
        ({"after": "g"}, "", False),
        ({"limit": "2", "before": "e"}, "cd", True),
        ({"after": "b", "before": "f"}, "cde", False),
    ],
)
async def test_a_list_is_read_page_by_page(query: dict[str, str], found: str, has_more: bool) -> None:
    def place_of(letter: str) -> tuple[int, int]:
        if len(letter) > 1:
            raise ItemNotFound
        return -ord(letter), 0

    @get("/", dependencies={"page": page_query()})
    async def letters(page: NamedDependency[PageQuery]) -> Page[str]:
        items = placed(a_message(-ord(letter)) for letter in "abcdefg")  # the newest is first
        found = part_of(items, slice_of(page, place_of, nothing=NOWHERE))
        return sliced_page([chr(-one.message.number) for one in found], page, str)

    async with AsyncTestClient(Litestar([letters])) as http:
        reply = (await http.get("/", params=query)).json()

    assert reply == {
        "object": "list",
        "data": list(found),
        "first_id": found[:1] or None,
        "last_id": found[-1:] or None,
        "has_more": has_more,
    }


async def test_arrays_in_queries_are_read_in_every_spelling() -> None:
    @get("/")
    async def include(request: OpenAiRequest) -> list[str]:
        return values_of(request, "include")

    async with AsyncTestClient(Litestar([include], request_class=OpenAiRequest)) as http:
        spellings = ["include[]=a&include[]=b", "include=a&include=b", "include[0]=a&include[1]=b", "include=a&other=c"]
        replies = [(await http.get(f"/?{spelling}&included=d")).json() for spelling in spellings]

    assert replies == [["a", "b"], ["a", "b"], ["a", "b"], ["a"]]


# Ids -----------------------------------------------------------------------------------------------------------------


def test_ids_are_read_back_and_have_one_spelling() -> None:
    uuid = "0f5c2f58-7f3e-4a1e-9a3e-5b8e6d1c2a3b"

    assert number_in(CONVERSATION, numbered_id(CONVERSATION, 123)) == 123
    assert uuid_in(VECTOR_STORE, uuid_id(VECTOR_STORE, uuid)) == uuid
    for wrong in ("123", "conv_", "conv_+5", "resp_123", "conv_1_000", "conv_" + "9" * 30):
        assert number_in(CONVERSATION, wrong) is None
    for wrong in (uuid, f"vs_{uuid}", "vs_", "vs_" + "A" * 32, "file-" + "a" * 32):
        assert uuid_in(VECTOR_STORE, wrong) is None
