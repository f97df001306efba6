import asyncio
from collections.abc import Callable, Iterator

import bcrypt
import pytest

from llm_backend.application.ports.passwords import Passwords
from llm_backend.domain.errors import Overloaded
from llm_backend.domain.users import PasswordHash
from llm_backend.infrastructure.security.passwords import Argon2Cost, Argon2Passwords
from llm_backend.testing.contracts.passwords import PasswordsContract

QUICK = Argon2Cost(time=1, memory=8)
SLOW = Argon2Cost(time=1, memory=19456)
OpenPasswords = Callable[..., Argon2Passwords]


class TestArgon2Passwords(PasswordsContract):
    @pytest.fixture
    def passwords(self) -> Iterator[Passwords]:
        passwords = Argon2Passwords(QUICK)
        yield passwords
        passwords.close()


@pytest.fixture
def open_passwords() -> Iterator[OpenPasswords]:
    opened: list[Argon2Passwords] = []

    def open_one(cost: Argon2Cost = QUICK, **bounds: int) -> Argon2Passwords:
        opened.append(Argon2Passwords(cost, **bounds))
        return opened[-1]

    yield open_one
    for passwords in opened:
        passwords.close()


async def test_the_default_cost_is_that_of_the_recommendation(open_passwords: OpenPasswords) -> None:
    stored = await open_passwords(Argon2Cost()).hash("secret")

    assert stored.phc.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_a_hash_of_another_cost_still_matches_but_is_outdated(open_passwords: OpenPasswords) -> None:
    stored = await open_passwords(QUICK).hash("secret")
    today = open_passwords(Argon2Cost(time=2, memory=16))

    assert await today.verify("secret", stored)
    assert today.is_outdated(stored)


async def test_who_finds_the_queue_full_is_turned_away_and_the_others_are_served(open_passwords: OpenPasswords) -> None:
    passwords = open_passwords(SLOW, workers=1, waiting=2)

    results = await asyncio.gather(*(passwords.hash("secret") for _ in range(10)), return_exceptions=True)

    served = [result for result in results if isinstance(result, PasswordHash)]
    assert len(served) == 3
    assert sum(isinstance(result, Overloaded) for result in results) == 7


async def test_the_queue_is_empty_again_when_its_work_is_done(open_passwords: OpenPasswords) -> None:
    passwords = open_passwords(workers=1, waiting=0)

    for _ in range(20):
        await until_there_is_a_place(passwords)


async def test_callers_that_gave_up_leave_their_places(open_passwords: OpenPasswords) -> None:
    passwords = open_passwords(SLOW, workers=1, waiting=2)
    callers = [asyncio.ensure_future(passwords.hash("secret")) for _ in range(3)]
    await asyncio.sleep(0)

    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)

    await until_there_is_a_place(passwords)


async def test_the_event_loop_goes_on_meanwhile(open_passwords: OpenPasswords) -> None:
    passwords = open_passwords(SLOW)
    hashing = asyncio.ensure_future(passwords.hash("secret"))

    turns = 0
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns > 10


async def test_a_login_of_nobody_does_the_same_work(open_passwords: OpenPasswords) -> None:
    passwords = open_passwords()

    nobodys = passwords._nobodys.phc

    mine = (await passwords.hash("secret")).phc
    assert nobodys.rsplit("$", 2)[0] == mine.rsplit("$", 2)[0]
    assert [len(part) for part in nobodys.split("$")] == [len(part) for part in mine.split("$")]


async def until_there_is_a_place(passwords: Argon2Passwords) -> PasswordHash:
    """The place is given back by the thread, a moment after the result."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await passwords.hash("secret")
            except Overloaded:
                await asyncio.sleep(0)


@pytest.mark.parametrize("prefix", [b"2a", b"2b"])
async def test_a_hash_of_bcrypt_is_verified_and_outdated(open_passwords: OpenPasswords, prefix: bytes) -> None:
    passwords = open_passwords()
    stored = PasswordHash(bcrypt.hashpw("pässword".encode(), bcrypt.gensalt(4, prefix)).decode())

    assert await passwords.verify("pässword", stored)
    assert not await passwords.verify("password", stored)
    assert passwords.is_outdated(stored)


async def test_bcrypt_reads_no_further_than_it_ever_did(open_passwords: OpenPasswords) -> None:
    passwords = open_passwords()
    stored = PasswordHash(bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode())

    assert await passwords.verify("x" * 100, stored)
    assert not await passwords.verify("x" * 71, stored)


@pytest.mark.parametrize("cost", ["15", "31", "03"])
async def test_a_hash_that_would_take_for_ever_matches_nothing(open_passwords: OpenPasswords, cost: str) -> None:
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$04$", f"${cost}$")

    assert not await open_passwords().verify("secret", PasswordHash(stored))
