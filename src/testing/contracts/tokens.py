"""What every kind of token must keep."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llm_backend.application.ports.tokens import Tokens
from llm_backend.domain.errors import Unauthenticated
from llm_backend.domain.ids import LARGEST_ID, UserId
from llm_backend.domain.users import PasswordHash, User
from llm_backend.testing.clock import NOON, ManualClock

ALICE = User(id=UserId(7), username="alice", password=PasswordHash("…"), token_version=3, created_at=NOON)
TTL = timedelta(hours=24)
SECOND = timedelta(seconds=1)

JUNK = ["", " ", ".", "..", "x.y.z", "Bearer x", "null", "🔑.🔑.🔑", "a.b", "a.b.c.d", "\x00", "x" * 1_000_000]


class TokensContract:
    """Tokens say who asks until they expire. Needs the fixtures `tokens`, which live for `TTL`, and `clock`, the
    `ManualClock` they go by."""

    def test_a_token_says_who_asks(self, tokens: Tokens) -> None:
        session = tokens.read(tokens.issue(ALICE))

        assert (session.user, session.token_version) == (ALICE.id, 3)
        assert session.token_id

    def test_a_token_says_since_when_and_until_when(self, tokens: Tokens, clock: ManualClock) -> None:
        session = tokens.read(tokens.issue(ALICE))

        assert session.issued_at == clock()
        assert session.expires_at == clock() + TTL

    def test_the_largest_id_fits(self, tokens: Tokens) -> None:
        somebody = replace(ALICE, id=UserId(LARGEST_ID), token_version=2**31 - 1)

        session = tokens.read(tokens.issue(somebody))

        assert (session.user, session.token_version) == (LARGEST_ID, 2**31 - 1)

    def test_two_tokens_of_one_moment_are_two(self, tokens: Tokens) -> None:
        assert tokens.read(tokens.issue(ALICE)).token_id != tokens.read(tokens.issue(ALICE)).token_id

    def test_reading_twice_says_the_same(self, tokens: Tokens) -> None:
        token = tokens.issue(ALICE)

        assert tokens.read(token) == tokens.read(token)

    def test_a_token_lives_until_its_end(self, tokens: Tokens, clock: ManualClock) -> None:
        token = tokens.issue(ALICE)

        clock.advance(TTL - SECOND)

        assert tokens.read(token).user == ALICE.id

    @pytest.mark.parametrize("late", [timedelta(0), SECOND, timedelta(days=365)])
    @pytest.mark.parametrize("read_before", [False, True])
    def test_a_token_is_dead_at_its_end(
        self, tokens: Tokens, clock: ManualClock, late: timedelta, read_before: bool
    ) -> None:
        token = tokens.issue(ALICE)
        if read_before:
            tokens.read(token)

        clock.advance(TTL + late)

        with pytest.raises(Unauthenticated):
            tokens.read(token)

    def test_a_clock_that_is_set_back_revives_no_token(self, tokens: Tokens, clock: ManualClock) -> None:
        token = tokens.issue(ALICE)
        clock.advance(TTL - SECOND)
        clock.set(clock() - timedelta(hours=1))

        clock.advance(2 * SECOND)

        with pytest.raises(Unauthenticated):
            tokens.read(token)

    def test_a_clock_that_was_an_hour_ahead_leaves_working_tokens(self, tokens: Tokens, clock: ManualClock) -> None:
        clock.set(clock() + timedelta(hours=1))
        token = tokens.issue(ALICE)

        clock.set(clock() - timedelta(hours=1))

        assert tokens.read(token).user == ALICE.id

    @pytest.mark.parametrize("token", JUNK, ids=lambda token: repr(token[:20]))
    def test_junk_is_nobody(self, tokens: Tokens, token: str) -> None:
        with pytest.raises(Unauthenticated):
            tokens.read(token)

    @pytest.mark.parametrize("addition", ["=", "==", " ", "\n", ".", "A", "\x00"])
    def test_an_addition_makes_it_another_token(self, tokens: Tokens, addition: str) -> None:
        token = tokens.issue(ALICE)

        for altered in (token + addition, addition + token):
            with pytest.raises(Unauthenticated):
                tokens.read(altered)

    def test_no_single_altered_character_goes_unnoticed(self, tokens: Tokens) -> None:
        token = tokens.issue(ALICE)
        tokens.read(token)

        for index, character in enumerate(token):
            for other in {chr(ord(character) ^ 1), "A", "-"} - {character}:
                with pytest.raises(Unauthenticated):
                    tokens.read(token[:index] + other + token[index + 1 :])
