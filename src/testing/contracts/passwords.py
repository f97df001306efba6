"""What every way of keeping passwords must keep."""

import asyncio

import pytest

from llm_backend.application.ports.passwords import Passwords
from llm_backend.domain.users import PasswordHash

ODD_PASSWORDS = ["p", " ", " lead and trail ", "密码🔑", "a\x00b", "x" * 256, "é", "e\u0301"]


class PasswordsContract:
    """Passwords are known again, and nothing else is. Needs the fixture `passwords`."""

    @pytest.mark.parametrize("password", ODD_PASSWORDS)
    async def test_a_password_matches_its_hash(self, passwords: Passwords, password: str) -> None:
        assert await passwords.verify(password, await passwords.hash(password))

    @pytest.mark.parametrize("wrong", ["", "Secret", "secret ", " secret", "secre", "secret\x00", "\ud800"])
    async def test_any_other_password_does_not(self, passwords: Passwords, wrong: str) -> None:
        stored = await passwords.hash("secret")

        assert not await passwords.verify(wrong, stored)

    async def test_spellings_that_look_alike_are_different_passwords(self, passwords: Passwords) -> None:
        assert not await passwords.verify("é", await passwords.hash("e\u0301"))

    async def test_the_same_password_has_another_hash_each_time(self, passwords: Passwords) -> None:
        hashes = await asyncio.gather(passwords.hash("secret"), passwords.hash("secret"))

        assert hashes[0] != hashes[1]

    async def test_the_hash_does_not_contain_the_password(self, passwords: Passwords) -> None:
        assert "secret" not in (await passwords.hash("secret")).phc

    @pytest.mark.parametrize("password", ["", "secret", "\ud800"])
    async def test_nobody_has_no_password(self, passwords: Passwords, password: str) -> None:
        assert not await passwords.verify(password, None)

    @pytest.mark.parametrize("junk", ["", "junk", "$argon2id$v=19$", "$2b$10$abc"])
    async def test_nothing_matches_a_damaged_hash(self, passwords: Passwords, junk: str) -> None:
        assert not await passwords.verify("secret", PasswordHash(junk))
        assert passwords.is_outdated(PasswordHash(junk))

    async def test_a_fresh_hash_is_not_outdated(self, passwords: Passwords) -> None:
        assert not passwords.is_outdated(await passwords.hash("secret"))
