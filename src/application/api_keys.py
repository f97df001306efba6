"""API keys: make, list and delete them, and know who is asking by one."""

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from llm_backend.application.ports.api_keys import ApiKeyViews
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.repeating import written_behind
from llm_backend.application.users import Authenticate
from llm_backend.domain.api_keys import KEY_MARK, Access, ApiKey, Scope, digest_of, shown_prefix
from llm_backend.domain.errors import DomainError, TooManyApiKeys, Unauthenticated
from llm_backend.domain.ids import ApiKeyId, UserId
from llm_backend.domain.secrets import Secret
from llm_backend.domain.users import Session

logger = logging.getLogger(__name__)

MOST_KEYS = 100  # of one user


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key and, once only, what it is. A request that is repeated gets the same key, which nobody knows any more."""

    key: ApiKey
    secret: Secret | None


@dataclass(frozen=True, slots=True)
class CreateApiKey:
    """Make a key for whoever holds a session."""

    transactions: UnitOfWorkFactory
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        session: Session,
        name: str,
        *,
        scopes: frozenset[Scope] = frozenset(),
        expires_at: datetime | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> NewApiKey:
        """The same key gives the same API key without its secret.

        Raises `InvalidKeyName`, `InvalidKeyExpiry`, `TooManyApiKeys`, `IdempotencyMismatch`, `ApiKeyNotFound` when the
        key's API key has been deleted, or `Unauthenticated` when the password has been changed since.
        """
        secret = Secret(KEY_MARK + self.ids.token())
        key = ApiKey(
            id=ApiKeyId(self.ids.uuid()),
            owner=session.user,
            name=name,
            prefix=shown_prefix(secret),
            digest=digest_of(secret),
            scopes=scopes,
            created_at=self.now(),
            expires_at=expires_at,
        )
        try:
            return await self._add(session, key, secret, idempotency)
        except AlreadyRecorded:
            return await self._add(session, key, secret, idempotency)  # finds what the faster one made

    async def _add(
        self, session: Session, key: ApiKey, secret: Secret, idempotency: IdempotencyKey | None
    ) -> NewApiKey:
        async with self.transactions() as work:
            user = await work.users.get(session.user)
            if user is None or user.token_version != session.token_version:
                raise Unauthenticated  # a password that is changed meanwhile kills this key, too
            if idempotency and (made := await work.idempotency.outcome(key.owner, idempotency)):
                return NewApiKey(key=await work.api_keys.get(key.owner, ApiKeyId(made)), secret=None)
            if await work.api_keys.count(key.owner) >= MOST_KEYS:
                raise TooManyApiKeys
            await work.api_keys.add(key)
            if idempotency:
                await work.idempotency.record(key.owner, idempotency, key.id, at=key.created_at)
            await work.commit()
        return NewApiKey(key=key, secret=secret)


@dataclass(frozen=True, slots=True)
class ListApiKeys:
    """The user's keys, newest first."""

    views: ApiKeyViews

    async def __call__(self, owner: UserId) -> Sequence[ApiKey]:
        return await self.views.of(owner)


@dataclass(frozen=True, slots=True)
class DeleteApiKey:
    """Kill one key, for good and everywhere."""

    transactions: UnitOfWorkFactory

    async def __call__(self, owner: UserId, key: ApiKeyId) -> None:
        """Raises `ApiKeyNotFound`."""
        async with self.transactions() as work:
            await work.api_keys.remove(owner, key)
            await work.commit()


@dataclass(slots=True)
class KeyUses:
    """When each key was used last: gathered here and written now and then, for a write at every request would cost
    more than the request. What a crash forgets is the last few seconds of these times, and nothing else."""

    transactions: UnitOfWorkFactory
    _latest: dict[ApiKeyId, datetime] = field(default_factory=dict, init=False)

    def note(self, key: ApiKeyId, at: datetime) -> None:
        self._latest[key] = at

    async def write(self) -> None:
        """What cannot be written now is kept for the next time."""
        uses, self._latest = self._latest, {}
        if not uses:
            return
        try:
            async with self.transactions() as work:
                await work.api_keys.note_uses(list(uses.items()))
                await work.commit()
        except DomainError as error:
            self._latest = {**uses, **self._latest}
            logger.warning("the last uses of keys could not be written: %s", error.code)

    def regularly(self, every: timedelta) -> AbstractAsyncContextManager[None]:
        """Write again and again until the end of the block, and there once more."""
        return written_behind(self.write, every)


@dataclass(frozen=True, slots=True)
class Authorize:
    """Tell who is asking, by an API key or by a token, and for what that is good."""

    authenticate: Authenticate
    keys: ApiKeyViews
    uses: KeyUses
    now: Clock

    async def __call__(self, bearer: str) -> Access:
        """Raises `Unauthenticated`."""
        if not bearer.startswith(KEY_MARK):
            return Access(user=(await self.authenticate(bearer)).user)
        now = self.now()
        key = await self.keys.by_digest(digest_of(Secret(bearer)))
        if key is None or not key.is_live(now):
            raise Unauthenticated
        self.uses.note(key.id, now)
        return Access(user=key.owner, key=key.id, scopes=key.scopes)
