import asyncio
from datetime import timedelta

import pytest

from llm_backend import Backend
from llm_backend.domain.errors import (
    IdempotencyMismatch,
    InvalidPassword,
    InvalidUsername,
    TooManyAttempts,
    TooManyRegistrations,
    Unauthenticated,
    UsernameTaken,
    WrongCredentials,
)
from llm_backend.domain.ids import UserId
from llm_backend.testing.clock import ManualClock

PASSWORD = "correct horse"


async def test_whoever_registered_can_log_in_and_is_known_by_the_token(backend: Backend, ada: UserId) -> None:
    token = await backend.log_in("ada", PASSWORD)

    assert (await backend.authenticate(token)).user == ada


async def test_a_name_is_taken_once(backend: Backend, ada: UserId) -> None:
    with pytest.raises(UsernameTaken):
        await backend.register_user("ada", "another")


async def test_of_ten_equal_registrations_one_succeeds(backend: Backend) -> None:
    outcomes = await asyncio.gather(
        *(backend.register_user("grace", PASSWORD) for _ in range(10)), return_exceptions=True
    )

    assert sum(isinstance(outcome, UsernameTaken) for outcome in outcomes) == 9


@pytest.mark.parametrize("username", ["", " ada", "a\x00da", "a\nda", "x" * 65, "\ud800"])
async def test_an_odd_name_is_refused(backend: Backend, username: str) -> None:
    with pytest.raises(InvalidUsername):
        await backend.register_user(username, PASSWORD)


@pytest.mark.parametrize("password", ["", "x" * 257, "a\x00b"])
async def test_an_odd_password_is_refused(backend: Backend, password: str) -> None:
    with pytest.raises(InvalidPassword):
        await backend.register_user("ada", password)


async def test_a_repeated_registration_with_the_same_key_is_the_same_account(backend: Backend) -> None:
    first = await backend.register_user("grace", PASSWORD, idempotency_key="k")
    second = await backend.register_user("grace", PASSWORD, idempotency_key="k")

    assert second == first
    with pytest.raises(IdempotencyMismatch):
        await backend.register_user("grace", "another", idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        await backend.register_user("ada", PASSWORD, idempotency_key="k")


async def test_registrations_from_one_address_are_limited(backend: Backend) -> None:
    for n in range(60):
        await backend.register_user(f"user{n}", PASSWORD, address="192.0.2.1")

    with pytest.raises(TooManyRegistrations) as refusal:
        await backend.register_user("one-more", PASSWORD, address="192.0.2.1")

    assert refusal.value.retry_after > timedelta(0)
    await backend.register_user("elsewhere", PASSWORD, address="192.0.2.2")


async def test_a_wrong_password_and_an_unknown_name_look_the_same(backend: Backend, ada: UserId) -> None:
    with pytest.raises(WrongCredentials) as wrong:
        await backend.log_in("ada", "wrong")
    with pytest.raises(WrongCredentials) as unknown:
        await backend.log_in("nobody", "wrong")

    assert str(wrong.value) == str(unknown.value)


async def test_after_repeated_failures_even_the_right_password_has_to_wait(backend: Backend, ada: UserId) -> None:
    for _ in range(10):
        with pytest.raises(WrongCredentials):
            await backend.log_in("ada", "wrong", address="192.0.2.1")

    with pytest.raises(TooManyAttempts):
        await backend.log_in("ada", PASSWORD, address="192.0.2.1")
    assert await backend.log_in("ada", PASSWORD, address="192.0.2.2")


async def test_a_token_that_was_logged_out_is_dead(backend: Backend, ada: UserId) -> None:
    token, other = await backend.log_in("ada", PASSWORD), await backend.log_in("ada", PASSWORD)

    await backend.log_out(await backend.authenticate(token))

    with pytest.raises(Unauthenticated):
        await backend.authenticate(token)
    assert (await backend.authenticate(other)).user == ada


async def test_a_new_password_kills_all_older_tokens(backend: Backend, ada: UserId) -> None:
    token = await backend.log_in("ada", PASSWORD)

    await backend.change_password(ada, PASSWORD, "new password")

    with pytest.raises(Unauthenticated):
        await backend.authenticate(token)
    with pytest.raises(WrongCredentials):
        await backend.log_in("ada", PASSWORD)
    assert (await backend.authenticate(await backend.log_in("ada", "new password"))).user == ada


async def test_the_old_password_is_needed_for_a_new_one(backend: Backend, ada: UserId) -> None:
    with pytest.raises(WrongCredentials):
        await backend.change_password(ada, "wrong", "new password")

    assert await backend.log_in("ada", PASSWORD)


async def test_of_two_new_passwords_at_once_one_counts(backend: Backend, ada: UserId) -> None:
    outcomes = await asyncio.gather(
        backend.change_password(ada, PASSWORD, "first"),
        backend.change_password(ada, PASSWORD, "second"),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, WrongCredentials) for outcome in outcomes) == 1


async def test_a_token_ends_when_its_time_is_up(backend: Backend, ada: UserId, clock: ManualClock) -> None:
    token = await backend.log_in("ada", PASSWORD)

    clock.advance(timedelta(hours=24))

    with pytest.raises(Unauthenticated):
        await backend.authenticate(token)


async def test_of_ten_equal_registrations_with_one_key_all_get_the_same_account(backend: Backend) -> None:
    users = await asyncio.gather(*(backend.register_user("grace", PASSWORD, idempotency_key="k") for _ in range(10)))

    assert len(set(users)) == 1


async def test_many_guesses_at_once_find_out_no_more_than_one_by_one(backend: Backend, ada: UserId) -> None:
    guesses = [backend.log_in("ada", f"guess {n}", address="192.0.2.1") for n in range(40)]

    outcomes = await asyncio.gather(*guesses, return_exceptions=True)

    assert sum(isinstance(outcome, WrongCredentials) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, TooManyAttempts) for outcome in outcomes) == 30
