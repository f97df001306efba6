"""Accounts: register, log in, log out, change the password, and know who is asking."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.idempotency import NOBODY, AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.passwords import Passwords
from llm_backend.application.ports.rate_limiter import RateLimit, RateLimiter
from llm_backend.application.ports.sessions import SessionViews
from llm_backend.application.ports.tokens import Tokens
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.domain.errors import (
    IdempotencyMismatch,
    TooManyAttempts,
    TooManyRegistrations,
    Unauthenticated,
    UsernameTaken,
    WrongCredentials,
)
from llm_backend.domain.ids import UserId
from llm_backend.domain.users import Session, User, check_password, check_username

# One address may stand for an office, and one account may be under attack from many addresses: failures of the pair
# count against the limit itself, those of either alone against this many times the limit.
SHARED_FACTOR = 10

Throttles = Sequence[tuple[str, RateLimit]]


@dataclass(frozen=True, slots=True)
class RegisterUser:
    """Create an account."""

    transactions: UnitOfWorkFactory
    passwords: Passwords
    limiter: RateLimiter
    limit: RateLimit | None
    ids: IdSource
    now: Clock

    async def __call__(
        self, username: str, password: str, *, address: str = "", idempotency_key: str | None = None
    ) -> UserId:
        """The same key and password give the same account. `address` is where registrations are counted.

        Raises `InvalidUsername`, `InvalidPassword`, `UsernameTaken`, `TooManyRegistrations`, `Overloaded`,
        `InvalidIdempotencyKey` or `IdempotencyMismatch`.
        """
        check_username(username)
        check_password(password)
        key = _registration_key(idempotency_key, username)
        if key and (earlier := await self._earlier(key, password)):
            return earlier
        if self.limit and (wait := await self.limiter.hit(f"register:{address}", self.limit)):
            raise TooManyRegistrations(retry_after=wait)
        return await self._register(username, password, key)

    async def _register(self, username: str, password: str, key: IdempotencyKey | None) -> UserId:
        hashed = await self.passwords.hash(password)
        user = User(id=UserId(self.ids.number()), username=username, password=hashed, created_at=self.now())
        try:
            async with self.transactions() as work:
                await work.users.add(user)
                if key:
                    await work.idempotency.record(NOBODY, key, str(user.id), at=self.now())
                await work.commit()
        except (AlreadyRecorded, UsernameTaken):  # by the same request, which was faster, or by another
            if key and (earlier := await self._earlier(key, password)):
                return earlier
            raise
        return user.id

    async def _earlier(self, key: IdempotencyKey, password: str) -> UserId | None:
        """What came of the key. The password is part of the request, and must not be part of a fingerprint."""
        async with self.transactions() as work:
            outcome = await work.idempotency.outcome(NOBODY, key)
            user = await work.users.get(UserId(int(outcome))) if outcome else None
        if outcome is None:
            return None
        if user is None or not await self.passwords.verify(password, user.password):
            raise IdempotencyMismatch
        return user.id


@dataclass(frozen=True, slots=True)
class LogIn:
    """Exchange a name and a password for a token."""

    transactions: UnitOfWorkFactory
    passwords: Passwords
    tokens: Tokens
    limiter: RateLimiter
    limit: RateLimit | None

    async def __call__(self, username: str, password: str, *, address: str = "") -> str:
        """The token. Raises `WrongCredentials`, whether the name or the password is wrong; `TooManyAttempts`, counted
        by name and `address`; or `Overloaded`."""
        throttles = self._throttles(username, address)
        await _check(self.limiter, throttles)
        async with self.transactions() as work:
            user = await work.users.named(username)
        if not await self.passwords.verify(password, user.password if user else None) or user is None:
            await _count(self.limiter, throttles)
            raise WrongCredentials
        await _check(self.limiter, throttles)
        if throttles:
            await self.limiter.reset(throttles[0][0])
        if self.passwords.is_outdated(user.password):
            await self._rehash(user.id, password)
        return self.tokens.issue(user)

    def _throttles(self, username: str, address: str) -> Throttles:
        if self.limit is None:
            return []
        name = sha256(username.encode(errors="replace")).hexdigest()
        shared = RateLimit(count=self.limit.count * SHARED_FACTOR, period=self.limit.period)
        return [
            (f"login:pair:{name}:{address}", self.limit),
            (f"login:account:{name}", shared),
            (f"login:address:{address}", shared),
        ]

    async def _rehash(self, user_id: UserId, password: str) -> None:
        hashed = await self.passwords.hash(password)
        async with self.transactions() as work:
            if user := await work.users.get(user_id):
                user.rehash_password(hashed)
                await work.users.save(user)
                await work.commit()


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Tell whose token this is."""

    tokens: Tokens
    sessions: SessionViews

    async def __call__(self, token: str) -> Session:
        """Raises `Unauthenticated`, also once the token was signed out."""
        session = self.tokens.read(token)
        if not await self.sessions.is_live(session):
            raise Unauthenticated
        return session


@dataclass(frozen=True, slots=True)
class LogOut:
    """Kill one token, for good and everywhere."""

    transactions: UnitOfWorkFactory

    async def __call__(self, session: Session) -> None:
        """Doing it twice is no error."""
        async with self.transactions() as work:
            await work.revocations.add(session.token_id, until=session.expires_at)
            await work.commit()


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Set a new password; everything that was signed in under the old one is signed out, and API keys are dead."""

    transactions: UnitOfWorkFactory
    passwords: Passwords
    limiter: RateLimiter
    limit: RateLimit | None

    async def __call__(self, owner: UserId, old: str, new: str) -> None:
        """Raises `InvalidPassword` for the new one, `WrongCredentials` for the old one, also when it has been changed
        meanwhile, `TooManyAttempts` or `Overloaded`."""
        check_password(new)
        throttles = [(f"password:{owner}", self.limit)] if self.limit else []
        await _check(self.limiter, throttles)
        async with self.transactions() as work:
            user = await work.users.get(owner)
        if not await self.passwords.verify(old, user.password if user else None) or user is None:
            await _count(self.limiter, throttles)
            raise WrongCredentials("The old password is wrong")
        await _check(self.limiter, throttles)
        hashed = await self.passwords.hash(new)
        async with self.transactions() as work:
            fresh = await work.users.get(owner)
            if fresh is None or fresh.password != user.password:
                raise WrongCredentials  # changed by somebody else since it was verified
            fresh.change_password(hashed)
            await work.users.save(fresh)
            await work.api_keys.remove_all(owner)
            await work.commit()


async def _check(limiter: RateLimiter, throttles: Throttles) -> None:
    """Before a password is verified, and after: many guesses at once must not find out more than one by one."""
    for key, limit in throttles:
        if wait := await limiter.blocked(key, limit):
            raise TooManyAttempts(retry_after=wait)


async def _count(limiter: RateLimiter, throttles: Throttles) -> None:
    """One failure. Raises `TooManyAttempts` when it is one too many."""
    waits = [await limiter.hit(key, limit) for key, limit in throttles]
    if longest := max(filter(None, waits), default=None):
        raise TooManyAttempts(retry_after=longest)


def _registration_key(key: str | None, username: str) -> IdempotencyKey | None:
    if key is None:
        return None
    return IdempotencyKey(key=key, fingerprint=sha256(f"register\n{username}".encode()).hexdigest())
