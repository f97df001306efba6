"""Registering, logging in and out, changing passwords, over HTTP."""

import asyncio
import base64
import json
from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from httpx import ASGITransport, AsyncClient
from msgspec.structs import replace

from llm_backend.application.ports.rate_limiter import RateLimit
from llm_backend.config import Limits, Settings
from llm_backend.interface.http.app import create_app
from llm_backend.testing.clock import ManualClock
from tests.http.backends import memory_backend
from tests.http.clients import PASSWORD, Client

LIST = "/api/conversations/list"


async def test_a_taken_name_is_refused(client: Client) -> None:
    await client.new_user("john_doe")

    reply = await client.post("/api/users/register", {"username": "john_doe", "password": "another"})

    assert reply.status_code == 400
    assert reply.json() == {"error": "Username already exists", "code": "username_taken"}


async def test_of_ten_equal_registrations_one_succeeds(client: Client) -> None:
    body = {"username": "john_doe", "password": PASSWORD}

    replies = await asyncio.gather(*(client.post("/api/users/register", body) for _ in range(10)))

    assert sorted(reply.status_code for reply in replies) == [201] + [400] * 9


async def test_a_wrong_password_and_an_unknown_name_look_the_same(client: Client) -> None:
    await client.new_user("john_doe")

    wrong = await client.post("/api/users/login", {"username": "john_doe", "password": "wrong"})
    unknown = await client.post("/api/users/login", {"username": "jane_doe", "password": "wrong"})

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content
    assert wrong.json() == {"error": "Invalid username or password", "code": "wrong_credentials"}


async def test_too_many_failures_are_told_when_to_come_back(client: Client) -> None:
    await client.new_user("john_doe")
    body = {"username": "john_doe", "password": "wrong"}

    statuses = [(await client.post("/api/users/login", body)).status_code for _ in range(11)]
    late = await client.post("/api/users/login", {"username": "john_doe", "password": PASSWORD})

    assert statuses == [401] * 10 + [429]
    assert late.status_code == 429
    assert late.json()["code"] == "too_many_attempts"
    assert 0 < int(late.headers["retry-after"]) <= 900


async def test_forged_addresses_do_not_get_round_a_limit(tmp_path: Path) -> None:
    limits = Limits(registrations_per_address=RateLimit(count=2, period=timedelta(hours=1)))
    async with memory_backend(tmp_path, replace(Settings(), limits=limits)) as backend:
        transport = ASGITransport(create_app(backend), client=("192.0.2.1", 1))  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://test") as http:
            statuses = [
                (
                    await http.post(
                        "/api/users/register",
                        json={"username": f"user-{number}", "password": "x"},
                        headers={"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": f"198.51.100.{number}"},
                    )
                ).status_code
                for number in range(3)
            ]

    assert statuses == [201, 201, 429]


async def test_logging_out_kills_the_token_however_it_is_spelt(alice: Client) -> None:
    reply = await alice.post("/api/users/logout")

    assert reply.status_code == 200
    assert reply.json() == {"message": "Logged out successfully"}
    for token in (alice.token, f"{alice.token}=", f"{alice.token}=="):
        assert (await Client(alice.http, token).get(LIST)).status_code == 401


async def test_logging_out_leaves_other_tokens_alive(client: Client) -> None:
    first = await client.new_user("john_doe")
    login = await client.post("/api/users/login", {"username": "john_doe", "password": PASSWORD})
    second = Client(client.http, login.json()["token"])

    await first.post("/api/users/logout")

    assert (await first.get(LIST)).status_code == 401
    assert (await second.get(LIST)).status_code == 200


async def test_a_new_password_kills_all_tokens(client: Client) -> None:
    first = await client.new_user("john_doe")
    conversation = await first.new_conversation()
    await first.post(f"/api/chat/{conversation}", {"message": "Hello"})

    changed = await first.post("/api/users/password", {"old_password": PASSWORD, "new_password": "new"})

    assert changed.status_code == 200
    assert (await first.get(LIST)).status_code == 401
    assert (await first.get(f"/api/chat/{conversation}/stream")).status_code == 401
    old = await client.post("/api/users/login", {"username": "john_doe", "password": PASSWORD})
    new = await client.post("/api/users/login", {"username": "john_doe", "password": "new"})
    assert (old.status_code, new.status_code) == (401, 200)


async def test_the_old_password_is_asked_for(alice: Client) -> None:
    reply = await alice.post("/api/users/password", {"old_password": "wrong", "new_password": "new"})

    assert reply.status_code == 401
    assert reply.json() == {"error": "The old password is wrong", "code": "wrong_credentials"}
    assert (await alice.get(LIST)).status_code == 200


async def test_a_token_that_nobody_signed_is_worth_nothing(alice: Client) -> None:
    assert alice.token
    claims = jwt.decode(alice.token, options={"verify_signature": False})
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    body = alice.token.split(".")[1]
    forged = [
        f"{header}.{body}.",
        f"{header}.{body}.{alice.token.split('.')[2]}",
        jwt.encode(claims, "x" * 32, algorithm="HS256"),
        jwt.encode(claims, "x" * 64, algorithm="HS512"),
    ]

    for token in forged:
        assert (await Client(alice.http, token).get(LIST)).status_code == 401


async def test_a_token_ends(tmp_path: Path) -> None:
    clock = ManualClock()
    async with memory_backend(tmp_path, clock=clock) as backend:
        transport = ASGITransport(create_app(backend))  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://test") as http:
            alice = await Client(http).new_user()

            clock.advance(timedelta(hours=23, minutes=59))
            before = await alice.get(LIST)
            clock.advance(timedelta(minutes=2))
            after = await alice.get(LIST)

    assert (before.status_code, after.status_code) == (200, 401)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_case_insensitive(alice: Client, scheme: str) -> None:
    reply = await alice.get(LIST, headers={"Authorization": f"{scheme} {alice.token}"})

    assert reply.status_code == 200
