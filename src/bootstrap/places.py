"""What moving, backup and restore have in common: taking a place for oneself, and looking whether it is free."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.application.heartbeat import EVERY, MISSES
from llm_backend.bootstrap import databases
from llm_backend.config import Settings
from llm_backend.domain.errors import Conflict
from llm_backend.infrastructure.files.folders import make_private
from llm_backend.infrastructure.files.lock import lock_database, lock_folder
from llm_backend.infrastructure.sql.migrating import UnfinishedMove
from llm_backend.infrastructure.sql.moving import Beats, beats, living

LOOK = EVERY * MISSES  # after that long without a sign of life, a server is dead


class StillServed(Conflict):
    """A server is at work there."""

    code = "still_served"
    default_message = "A server is at work on the database"


class SchemaTooOld(Conflict):
    """It would arrive in a form that is no longer known."""

    code = "schema_too_old"
    default_message = "The database has an older schema"


def take(stack: AsyncExitStack, *places: Settings) -> None:
    """Lock out servers as another server does; PostgreSQL and its data folders may be shared, and are not locked.

    Raises `InUse`.
    """
    embedded = [place for place in places if place.database.url is None]
    for folder in dict.fromkeys(place.data_folder.resolve() for place in embedded):
        stack.enter_context(lock_folder(folder))
    for file in dict.fromkeys(place.database_file.resolve() for place in embedded):
        stack.enter_context(lock_database(file))
    for place in places:
        make_private(place.data_folder)


async def refuse_if_served(settings: Settings, engine: AsyncEngine, look: timedelta = LOOK) -> Beats:
    """The signs of life that were left, of servers that are dead. Raises `StillServed`.

    Where there are none, nobody has to wait for another.
    """
    left = await beats(engine)
    if left and settings.database.url is not None:
        await asyncio.sleep(look.total_seconds())
        await refuse_if_served_since(settings, engine, left)
    return left


async def refuse_if_served_since(settings: Settings, engine: AsyncEngine, before: Beats) -> None:
    """Raises `StillServed` when there has been a sign of life since then."""
    if living(before, await beats(engine)):
        place = databases.place_of(settings)
        raise StillServed(f"A server is at work on {place}: stop all of them, and run this again")


async def refuse_if_old(settings: Settings) -> None:
    """Raises `SchemaTooOld`, and as `migrate` does; changes nothing."""
    if settings.database.url is None and not await asyncio.to_thread(settings.database_file.exists):
        raise FileNotFoundError(f"There is no database at {settings.database_file}")
    if await databases.pending(settings):
        place = databases.place_of(settings)
        raise SchemaTooOld(f"{place} has an older schema: bring it to the newest with llm-backend migrate")


async def prepare(settings: Settings) -> None:
    """Make the tables, unless an earlier attempt has begun to fill them."""
    try:
        await databases.migrate(settings)
    except UnfinishedMove:
        return


def same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
