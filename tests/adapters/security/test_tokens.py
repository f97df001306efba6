import base64
import hashlib
import hmac
import json
import warnings
from pathlib import Path

import jwt
import pytest

from llm_backend.application.ports.tokens import Tokens
from llm_backend.domain.errors import Unauthenticated
from llm_backend.infrastructure.security import tokens as module
from llm_backend.infrastructure.security.ids import RandomIds
from llm_backend.infrastructure.security.key_ring import FileKeyRing, FixedKeyRing, key_id
from llm_backend.infrastructure.security.tokens import JwtTokens
from llm_backend.testing.clock import NOON, ManualClock
from llm_backend.testing.contracts.tokens import ALICE, TTL, TokensContract

KEY = b"k" * 32


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tokens(clock: ManualClock) -> JwtTokens:
    return JwtTokens(FixedKeyRing([KEY], 32), ttl=TTL, now=clock, ids=RandomIds(), monotonic=clock.monotonic)


class TestJwtTokens(TokensContract):
    @pytest.fixture
    def clock(self, clock: ManualClock) -> ManualClock:
        return clock

    @pytest.fixture
    def tokens(self, tokens: JwtTokens) -> Tokens:
        return tokens


def claims(**changes: object) -> dict[str, object]:
    """Good ones, but for the changes; a change to `...` leaves a claim out."""
    noon = int(NOON.timestamp())
    good: dict[str, object] = {"sub": "7", "user_id": 7, "iat": noon, "exp": noon + 60, "jti": "t", "ver": 1}
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def signed(payload: dict[str, object], *, key: bytes | str = KEY, algorithm: str = "HS256") -> str:
    return jwt.encode(payload, key, algorithm=algorithm)


def signed_by_hand(payload: bytes, header: bytes = b'{"alg":"HS256","typ":"JWT"}') -> str:
    signing_input = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    signature = hmac.new(KEY, signing_input, hashlib.sha256).digest()
    return (signing_input + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_the_claims_are_those_that_old_clients_read(tokens: JwtTokens) -> None:
    payload = jwt.decode(tokens.issue(ALICE), options={"verify_signature": False})

    assert set(payload) == {"sub", "user_id", "iat", "exp", "jti", "ver"}
    assert (payload["sub"], payload["user_id"], payload["ver"]) == ("7", 7, 3)
    assert payload["exp"] - payload["iat"] == TTL.total_seconds()


def test_what_the_others_below_are_made_of_is_good(tokens: JwtTokens) -> None:
    assert tokens.read(signed(claims())).user == 7
    assert tokens.read(signed_by_hand(json.dumps(claims()).encode())).user == 7


@pytest.mark.parametrize("name", ["sub", "user_id", "iat", "exp", "jti", "ver"])
@pytest.mark.parametrize("value", [..., None, "", [], {}, True, -1, 1.5, 2**63, 10**400, "x" * 100], ids=repr)
def test_a_missing_or_odd_claim_is_nobodys_even_when_signed(tokens: JwtTokens, name: str, value: object) -> None:
    payload = claims(**{name: value})

    with pytest.raises(Unauthenticated):
        tokens.read(signed_by_hand(json.dumps(payload, default=str).encode()))


@pytest.mark.parametrize("sub", ["8", "07", "+7", "７", " 7", "7\n"])
def test_subject_and_user_must_be_the_same(tokens: JwtTokens, sub: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.read(signed_by_hand(json.dumps(claims(sub=sub)).encode()))


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"7", b"{", b"\xff", b"[" * 1400, b'{"a":' * 280])
def test_a_signed_payload_that_is_no_object_of_claims_is_nobodys(tokens: JwtTokens, payload: bytes) -> None:
    with pytest.raises(Unauthenticated):
        tokens.read(signed_by_hand(payload))


@pytest.mark.parametrize(
    "header", [b"", b"null", b"[]", b"{", b"\xff", b"[" * 1300, b'{"alg":null}', b'{"alg":["HS256"]}']
)
def test_a_header_that_is_none_is_nobodys(tokens: JwtTokens, header: bytes) -> None:
    with pytest.raises(Unauthenticated):
        tokens.read(signed_by_hand(json.dumps(claims()).encode(), header))


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_only_the_one_algorithm_is_believed(tokens: JwtTokens, algorithm: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the key is short for HS512 is not the point
        token = signed(claims(), key="" if algorithm == "none" else KEY, algorithm=algorithm)

    with pytest.raises(Unauthenticated):
        tokens.read(token)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "hs256", "", "RS256", "HS384"])
def test_a_good_signature_does_not_help_another_algorithm(tokens: JwtTokens, algorithm: str) -> None:
    header = json.dumps({"alg": algorithm, "typ": "JWT"}).encode()

    with pytest.raises(Unauthenticated):
        tokens.read(signed_by_hand(json.dumps(claims()).encode(), header))


def test_another_key_signs_nothing_of_ours(tokens: JwtTokens) -> None:
    with pytest.raises(Unauthenticated):
        tokens.read(signed(claims(), key=b"x" * 32))


def test_another_spelling_of_the_same_signature_is_another_token(tokens: JwtTokens) -> None:
    token = signed(claims())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twins = [token[:-1] + alphabet[alphabet.index(token[-1]) + bits] for bits in (1, 2, 3)]

    for twin in twins:
        with pytest.raises(Unauthenticated):
            tokens.read(twin)


def test_a_token_that_was_read_once_is_read_again_without_its_signature_being_checked_anew(tokens: JwtTokens) -> None:
    token = tokens.issue(ALICE)

    assert tokens.read(token) is tokens.read(token)


def test_only_so_many_tokens_are_remembered_and_all_are_good(tokens: JwtTokens) -> None:
    issued = [tokens.issue(ALICE) for _ in range(module.REMEMBERED_TOKENS + 10)]

    users = {tokens.read(token).user for token in [*issued, *issued[:10]]}

    assert users == {ALICE.id}
    assert len(tokens._good) == module.REMEMBERED_TOKENS


def test_bad_tokens_are_not_remembered(tokens: JwtTokens) -> None:
    for number in range(100):
        with pytest.raises(Unauthenticated):
            tokens.read(signed(claims(), key=f"{number:032}".encode()))

    assert not tokens._good


# Rings of keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jwt.secret"


def replica(path: Path, clock: ManualClock) -> JwtTokens:
    return JwtTokens(FileKeyRing(path, 32), ttl=TTL, now=clock, ids=RandomIds(), monotonic=clock.monotonic)


def kid_of(token: str) -> object:
    return jwt.get_unverified_header(token).get("kid")


def test_a_token_names_its_key_and_nothing_about_it(tokens: JwtTokens) -> None:
    assert kid_of(tokens.issue(ALICE)) == key_id(KEY)


def test_after_a_rotation_new_tokens_have_the_new_key_and_old_ones_are_good(path: Path, clock: ManualClock) -> None:
    tokens = replica(path, clock)
    old = tokens.issue(ALICE)

    new_key = FileKeyRing(path, 32).add()

    new = tokens.issue(ALICE)
    assert kid_of(new) == new_key != kid_of(old)
    assert tokens.read(old).user == tokens.read(new).user == ALICE.id


def test_another_replica_knows_a_new_key_when_it_sees_it(path: Path, clock: ManualClock) -> None:
    one, other = replica(path, clock), replica(path, clock)
    FileKeyRing(path, 32).add()

    assert other.read(one.issue(ALICE)).user == ALICE.id


def test_tokens_of_a_dropped_key_are_dead_once_it_was_looked_for(path: Path, clock: ManualClock) -> None:
    tokens = replica(path, clock)
    old = tokens.issue(ALICE)
    tokens.read(old)
    ring = FileKeyRing(path, 32)
    ring.add()
    ring.drop(ring.key_ids()[1:])

    tokens.look_for_keys()

    with pytest.raises(Unauthenticated):
        tokens.read(old)
    assert tokens.read(tokens.issue(ALICE)).user == ALICE.id


def test_a_token_without_the_name_of_a_key_may_have_any_that_is_known(clock: ManualClock) -> None:
    ring = FixedKeyRing([b"n" * 32, KEY], 32)
    tokens = JwtTokens(ring, ttl=TTL, now=clock, ids=RandomIds(), monotonic=clock.monotonic)

    assert tokens.read(signed(claims())).user == 7
    with pytest.raises(Unauthenticated):
        tokens.read(signed(claims(), key=b"x" * 32))


def test_a_token_that_names_another_key_than_its_own_is_nobodys(clock: ManualClock) -> None:
    other = b"n" * 32
    ring = FixedKeyRing([KEY, other], 32)
    tokens = JwtTokens(ring, ttl=TTL, now=clock, ids=RandomIds(), monotonic=clock.monotonic)

    with pytest.raises(Unauthenticated):
        tokens.read(jwt.encode(claims(), KEY, algorithm="HS256", headers={"kid": key_id(other)}))


@pytest.mark.parametrize("kid", ["", "unknown", "\x00", "../../../dev/null", None, 7, [], {}, ["x"], True, "x" * 900])
def test_an_unknown_key_is_not_believed_however_it_is_named(tokens: JwtTokens, kid: object) -> None:
    header = json.dumps({"alg": "HS256", "kid": kid, "typ": "JWT"}).encode()

    with pytest.raises(Unauthenticated):
        tokens.read(signed_by_hand(json.dumps(claims()).encode(), header))


def test_the_name_of_a_key_brings_no_other_algorithm(tokens: JwtTokens) -> None:
    for algorithm in ("none", "HS384", "RS256"):
        header = json.dumps({"alg": algorithm, "kid": key_id(KEY), "typ": "JWT"}).encode()
        with pytest.raises(Unauthenticated):
            tokens.read(signed_by_hand(json.dumps(claims()).encode(), header))
