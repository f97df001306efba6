"""Bringing a database to the newest schema, once, however many processes start at the same time.

Alembic costs 150 ms of CPU to import, so a database that is up to date is recognised without it.
"""

from importlib import import_module
from pathlib import Path

from sqlalchemy import Connection, Inspector, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.domain.errors import DomainError
from llm_backend.infrastructure.sql.errors import translated

_MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaTooNew(DomainError):
    """A newer version of the program has used this database."""

    code = "schema_too_new"
    default_message = "The database was made by a newer version of this program"


class ForeignDatabase(DomainError):
    """Somebody else's tables are in it, and it stays as it is."""

    code = "foreign_database"
    default_message = (
        "The database was made by another program, such as the old product: "
        "name a new file in sqlite.path, or move the old one away"
    )


def newest_revision() -> str:
    """The revision that the code needs. Files are named `<revision>_<what it does>.py`, and revisions sort by date."""
    return max("_".join(path.stem.split("_")[:2]) for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


async def migrate(engine: AsyncEngine) -> bool:
    """Bring the schema to the newest revision; return whether there was anything to do.

    Whoever begins a transaction first migrates, all or nothing; the others wait and find it done. Raises
    `SchemaTooNew`, `ForeignDatabase` or `DatabaseUnavailable`.
    """
    if await _is_current(engine):
        return False
    import_module("alembic.command")  # before the lock is taken, for it takes its time
    with translated():
        async with engine.begin() as connection:
            return await connection.run_sync(_upgrade)


async def _is_current(engine: AsyncEngine) -> bool:
    with translated():
        async with engine.connect() as connection:
            revision = await connection.run_sync(_revision)
    if revision is not None and revision > newest_revision():
        raise SchemaTooNew
    return revision == newest_revision()


def _revision(connection: Connection) -> str | None:
    inspector: Inspector = inspect(connection)
    tables = inspector.get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise ForeignDatabase
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _upgrade(connection: Connection) -> bool:
    if _revision(connection) == newest_revision():
        return False
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return True
