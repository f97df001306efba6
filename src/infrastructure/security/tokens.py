"""Tokens as JSON Web Tokens, signed with HMAC-SHA256."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
import msgspec

from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.domain.errors import Unauthenticated
from llm_backend.domain.ids import LARGEST_ID, UserId
from llm_backend.domain.users import Session, User
from llm_backend.infrastructure.security.ids import Monotonic, SteadyClock

SHORTEST_KEY = 32  # bytes; RFC 7518, 3.2: as long as the hash at least
LONGEST_TOKEN = 2048  # characters
REMEMBERED_TOKENS = 4096

# Three parts without padding. 43 characters hold 258 bits and the signature has 256, so a last character with other
# bits set would decode to the same signature: only one spelling of a token is the token.
SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]{42}[AEIMQUYcgkosw048]", re.ASCII)

Number = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_ID)]
Second = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]  # up to the year 9999, where datetime ends


class Claims(msgspec.Struct, frozen=True):
    """What is signed. `user_id` is how the product's first version named the subject; its clients still read it."""

    sub: str
    user_id: Number
    iat: Second
    exp: Second
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    ver: Number


class JwtTokens:
    """Tokens that live for `ttl`, to the second. Setting the clock back does not lengthen their lives.

    Checking a signature costs more than listing fifty conversations, so tokens that were found good are remembered;
    their end is looked at each time. Raises `ValueError` when the key is too short to be one.
    """

    def __init__(
        self, key: bytes, *, ttl: timedelta, now: Clock, ids: IdSource, monotonic: Monotonic = time.monotonic
    ) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"The key that signs tokens must have at least {SHORTEST_KEY} bytes")
        self._key = key
        self._ttl = ttl
        self._now = SteadyClock(now, monotonic)
        self._ids = ids
        self._jwt = jwt.PyJWT({"require": list(Claims.__struct_fields__), "verify_exp": False, "verify_iat": False})
        self._good: dict[str, Session] = {}

    def issue(self, user: User) -> str:
        issued_at = self._now()
        claims = Claims(
            sub=str(user.id),
            user_id=user.id,
            iat=int(issued_at.timestamp()),
            exp=int((issued_at + self._ttl).timestamp()),
            jti=self._ids.uuid(),
            ver=user.token_version,
        )
        return self._jwt.encode(msgspec.to_builtins(claims), self._key, algorithm="HS256")

    def read(self, token: str) -> Session:
        session = self._good.get(token) or self._verified(token)
        if session.expires_at <= self._now():
            self._good.pop(token, None)
            raise Unauthenticated
        return session

    def _verified(self, token: str) -> Session:
        if len(token) > LONGEST_TOKEN or not SHAPE.fullmatch(token):
            raise Unauthenticated
        session = _session(self._claims(token))
        if len(self._good) >= REMEMBERED_TOKENS:
            del self._good[next(iter(self._good))]
        self._good[token] = session
        return session

    def _claims(self, token: str) -> Claims:
        try:
            claims = msgspec.convert(self._jwt.decode(token, self._key, algorithms=["HS256"]), Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, RecursionError) as error:
            raise Unauthenticated from error
        if claims.sub != str(claims.user_id):
            raise Unauthenticated
        return claims


def _session(claims: Claims) -> Session:
    return Session(
        user=UserId(claims.user_id),
        token_id=claims.jti,
        token_version=claims.ver,
        issued_at=datetime.fromtimestamp(claims.iat, UTC),
        expires_at=datetime.fromtimestamp(claims.exp, UTC),
    )
