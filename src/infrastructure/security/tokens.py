"""Tokens as JSON Web Tokens, signed with HMAC-SHA256."""

import hmac
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
import msgspec

from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.domain.errors import Unauthenticated
from llm_backend.domain.ids import LARGEST_ID, UserId
from llm_backend.domain.users import Session, User
from llm_backend.infrastructure.security.ids import Monotonic, SteadyClock
from llm_backend.infrastructure.security.key_ring import Keys, Ring, key_id

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

    The first key of the ring signs, and the token names it (`kid`); all of them verify. The ring is looked at whenever
    a token is signed, and when one comes that names an unknown key. `look_for_keys` is for what shows in no token: that
    a key is gone.

    Checking a signature costs more than listing fifty conversations, so tokens that were found good are remembered;
    their end is looked at each time.
    """

    def __init__(
        self, ring: Ring, *, ttl: timedelta, now: Clock, ids: IdSource, monotonic: Monotonic = time.monotonic
    ) -> None:
        self._ring = ring
        self._ttl = ttl
        self._now = SteadyClock(now, monotonic)
        self._ids = ids
        self._jwt = jwt.PyJWT({"require": list(Claims.__struct_fields__), "verify_exp": False, "verify_iat": False})
        self._good: dict[str, Session] = {}
        self._keys: Keys = ()
        self._by_header: dict[str, Keys] = {}
        self._by_id: dict[str, bytes] = {}
        self._header = ""
        self._heed(ring.known)

    def look_for_keys(self) -> None:
        """See whether the ring has changed. Tokens whose key is gone are dead from now on."""
        self._heed(self._ring.current())

    def issue(self, user: User) -> str:
        self.look_for_keys()
        issued_at = self._now()
        claims = Claims(
            sub=str(user.id),
            user_id=user.id,
            iat=int(issued_at.timestamp()),
            exp=int((issued_at + self._ttl).timestamp()),
            jti=self._ids.uuid(),
            ver=user.token_version,
        )
        return self._signed(msgspec.json.encode(claims))

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
            claims = msgspec.convert(self._payload(token), Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, RecursionError) as error:
            raise Unauthenticated from error
        if claims.sub != str(claims.user_id):
            raise Unauthenticated
        return claims

    def _payload(self, token: str) -> object:
        for key in self._candidates(token):
            try:
                return self._jwt.decode(token, key, algorithms=["HS256"])
            except jwt.InvalidSignatureError:
                continue
        raise Unauthenticated

    def _candidates(self, token: str) -> Keys:
        """The key that the token names. Our own headers are known by heart, which saves reading them twice."""
        known = self._by_header.get(token.partition(".")[0])
        return self._named(jwt.get_unverified_header(token)) if known is None else known

    def _named(self, header: Mapping[str, object]) -> Keys:
        if "kid" not in header:
            return self._keys  # tokens of earlier versions name none
        name = str(header["kid"])
        if name not in self._by_id:
            self.look_for_keys()
        return (self._by_id[name],) if name in self._by_id else ()

    def _signed(self, claims: bytes) -> str:
        text = f"{self._header}.{_part(claims)}"
        return f"{text}.{_part(hmac.digest(self._keys[0], text.encode(), 'sha256'))}"

    def _heed(self, keys: Keys) -> None:
        """Take the keys of the ring, unless they are the same as ever."""
        if keys is self._keys:
            return
        self._keys = keys
        self._by_id = {key_id(key): key for key in keys}
        self._by_header = {_header(name): (key,) for name, key in self._by_id.items()}
        self._header = next(iter(self._by_header))
        self._good.clear()


def _header(name: str) -> str:
    """`kid` comes last, which the library cannot do: tokens have always begun with the other two."""
    return _part(f'{{"alg":"HS256","typ":"JWT","kid":"{name}"}}'.encode())


def _part(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _session(claims: Claims) -> Session:
    return Session(
        user=UserId(claims.user_id),
        token_id=claims.jti,
        token_version=claims.ver,
        issued_at=datetime.fromtimestamp(claims.iat, UTC),
        expires_at=datetime.fromtimestamp(claims.exp, UTC),
    )
