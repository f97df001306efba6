"""API keys from the command line, in the database alone: servers may run meanwhile, and know at once."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta

from llm_backend.application.api_keys import CreateApiKey, DeleteApiKey, ListApiKeys
from llm_backend.application.ports.store import Store
from llm_backend.bootstrap.databases import open_store_beside_servers
from llm_backend.config import Settings
from llm_backend.domain.api_keys import ApiKey, Scope
from llm_backend.domain.errors import Invalid, InvalidKeyExpiry, UserNotFound
from llm_backend.domain.ids import ApiKeyId
from llm_backend.domain.users import Session, User
from llm_backend.infrastructure.security.ids import RandomIds, SystemClock
from llm_backend.interface.running import run


def create(settings: Settings, user: str, name: str, *, scopes: Sequence[str], days: int | None) -> None:
    """Raises `UserNotFound`, `Invalid`, `InvalidKeyName`, `InvalidKeyExpiry` or `TooManyApiKeys`."""
    run(_create(settings, user, name, frozenset(map(_scope, scopes)), days))


def show(settings: Settings, user: str) -> None:
    """One line for each key. Raises `UserNotFound`."""
    run(_show(settings, user))


def delete(settings: Settings, user: str, key: str) -> None:
    """Raises `UserNotFound` or `ApiKeyNotFound`."""
    run(_delete(settings, user, key))


async def _create(settings: Settings, name_of_user: str, name: str, scopes: frozenset[Scope], days: int | None) -> None:
    async with _opened(settings, name_of_user) as (store, user):
        now = SystemClock()
        made = await CreateApiKey(store.transactions, RandomIds(), now)(
            _session(user, now()), name, scopes=scopes, expires_at=None if days is None else _in_days(now(), days)
        )
    if made.secret:
        sys.stdout.write(f"{made.secret.reveal()}\n")


async def _show(settings: Settings, name_of_user: str) -> None:
    async with _opened(settings, name_of_user) as (store, user):
        keys = await ListApiKeys(store.api_key_views)(user.id)
    sys.stdout.writelines(f"{_line(key)}\n" for key in keys)


async def _delete(settings: Settings, name_of_user: str, key: str) -> None:
    async with _opened(settings, name_of_user) as (store, user):
        await DeleteApiKey(store.transactions)(user.id, ApiKeyId(key))
    sys.stdout.write("The key is dead.\n")


@asynccontextmanager
async def _opened(settings: Settings, name: str) -> AsyncIterator[tuple[Store, User]]:
    async with AsyncExitStack() as stack:
        store = await open_store_beside_servers(settings, stack)
        async with store.transactions() as work:
            user = await work.users.named(name)
        if user is None:
            raise UserNotFound
        yield store, user


def _session(user: User, now: datetime) -> Session:
    """Whoever may read the database needs no password to act for a user."""
    return Session(
        user=user.id, token_id="command-line", token_version=user.token_version, issued_at=now, expires_at=now
    )


def _in_days(now: datetime, days: int) -> datetime:
    try:
        return now + timedelta(days=days)
    except OverflowError as error:
        raise InvalidKeyExpiry("A key must end before the year 10000; without --days it never does") from error


def _scope(name: str) -> Scope:
    try:
        return Scope(name)
    except ValueError as error:
        raise Invalid(f"{name!r} is no scope; there are: {', '.join(Scope)}") from error


def _line(key: ApiKey) -> str:
    scopes = ",".join(sorted(key.scopes)) or "everything"
    until = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "for ever"
    used = f"used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
    return f"{key.id}  {key.prefix}…  {scopes}  {until}  {used}  {key.name}"
