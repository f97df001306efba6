"""The schema: migrated once, by whoever comes first, to what the tables say."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.domain.ids import DocumentId
from llm_backend.infrastructure import sql
from llm_backend.infrastructure.sql import (
    PostgresServer,
    SchemaTooNew,
    SqlStore,
    migrate_server,
    migrate_sqlite,
    pending_in_sqlite,
    pending_on_server,
)
from llm_backend.infrastructure.sql.migrating import (
    TURN,
    ForeignDatabase,
    UnreadableDatabase,
    migrate,
    newest_revision,
    pending,
)
from llm_backend.infrastructure.sql.postgres import postgres_engine
from llm_backend.infrastructure.sql.rows import metadata
from llm_backend.infrastructure.sql.store import migrating_engine
from llm_backend.testing.contracts.knowledge_views import SHELF, SPACE
from tests.databases import Databases

MIGRATIONS = Path(sql.__file__).parent / "migrations"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
OPEN = """
import asyncio, pathlib, sys
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.sql import PostgresServer, SqlStore

async def main():
    place = sys.argv[1]
    on_server = "://" in place
    async with (
        SqlStore.open_server(PostgresServer(url=Secret(place))) if on_server else SqlStore.open(pathlib.Path(place))
    ) as store:
        await store.check()

asyncio.run(main())
heavy = ("alembic", "litestar", "advanced_alchemy", "numpy", "pydantic", "asyncpg")
print(*(name for name in heavy if name in sys.modules))
"""


def schema(path: Path) -> dict[str, list[str]]:
    """Of each table and index the parts of its definition; constraints have no order."""
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'"
    )
    parts = {name: sorted(part.rstrip(" )") for part in " ".join(sql.split()).split(", ")) for name, sql in found}
    connection.close()
    return parts


def start(place: Path | str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(place)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def test_migrations_lead_to_what_the_tables_say(path: Path, tmp_path: Path) -> None:
    await migrate_sqlite(path)
    engine = create_engine(f"sqlite:///{tmp_path / 'tables.db'}")
    metadata.create_all(engine)
    engine.dispose()

    assert schema(path) == schema(tmp_path / "tables.db")


async def test_migrating_again_does_nothing(path: Path) -> None:
    first, second = await migrate_sqlite(path), await migrate_sqlite(path)

    assert (first, second) == (True, False)


def test_file_names_begin_with_their_revision_and_form_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    files = sorted((MIGRATIONS / "versions").glob("*.py"))

    line = [script.revision for script in scripts.walk_revisions()][::-1]

    assert [revision for file in files if file.stem.startswith(revision := _revision(file))] == line
    assert scripts.get_current_head() == newest_revision()


def _revision(file: Path) -> str:
    spec = spec_from_file_location("migration", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.revision)


async def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    await migrate_sqlite(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '99991231_01'")
    connection.commit()
    connection.close()

    with pytest.raises(SchemaTooNew):
        async with SqlStore.open(path):
            pass


async def test_the_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT)")
        connection.commit()

    with pytest.raises(ForeignDatabase):
        await migrate_sqlite(path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("users",)]


def test_what_is_no_database_is_called_so_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database " * 500)
    path.chmod(0o644)

    with pytest.raises(UnreadableDatabase):
        asyncio.run(migrate_sqlite(path))

    assert path.read_text() == "no database " * 500
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_is_no_database_and_stays_open_to_its_users(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(UnreadableDatabase):
        asyncio.run(migrate_sqlite(folder))

    assert folder.stat().st_mode & 0o777 == 0o777


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Path | str:
    """Of a database that has no tables yet."""
    if request.param == "sqlite":
        path: Path = request.getfixturevalue("path")
        return path
    server: PostgresServer = request.getfixturevalue("empty_postgres")
    return server.url.reveal()


def test_of_processes_that_start_at_once_one_migrates(place: Path | str) -> None:
    processes = [start(place) for _ in range(4)]

    outputs = [process.communicate(timeout=60) for process in processes]

    assert [(process.returncode, error) for process, (_, error) in zip(processes, outputs, strict=True)] == [
        (0, "")
    ] * 4


async def test_an_up_to_date_database_is_opened_without_alembic_and_without_a_web_framework(path: Path) -> None:
    await migrate_sqlite(path)

    output, error = await asyncio.to_thread(start(path).communicate, timeout=60)

    assert (output.strip(), error) == ("", "")


# PostgreSQL ----------------------------------------------------------------------------------------------------------


async def test_migrations_lead_to_what_the_tables_say_in_postgresql(empty_postgres: PostgresServer) -> None:
    await migrate_server(empty_postgres)
    engine = postgres_engine(empty_postgres)

    async with engine.connect() as connection:
        differences = await connection.run_sync(_differences)
    await engine.dispose()

    assert differences == []


def _differences(connection: Connection) -> list[object]:
    found: list[object] = compare_metadata(MigrationContext.configure(connection), metadata)
    return found


async def test_migrating_postgresql_again_does_nothing(empty_postgres: PostgresServer) -> None:
    first, second = await migrate_server(empty_postgres), await migrate_server(empty_postgres)

    assert (first, second) == (True, False)


async def test_a_newer_or_foreign_database_of_postgresql_is_left_as_it_is(
    databases: Databases, empty_postgres: PostgresServer
) -> None:
    name = empty_postgres.url.reveal().rpartition("/")[2]
    await databases.execute("CREATE TABLE users (id int)", name)
    with pytest.raises(ForeignDatabase):
        await migrate_server(empty_postgres)

    await databases.execute("DROP TABLE users", name)
    await migrate_server(empty_postgres)
    await databases.execute("UPDATE alembic_version SET version_num = '99991231_01'", name)
    with pytest.raises(SchemaTooNew):
        await migrate_server(empty_postgres)
    with pytest.raises(SchemaTooNew):
        await pending_on_server(empty_postgres)


async def test_no_statement_of_a_migration_is_too_long_and_whoever_waits_for_it_is_patient(
    empty_postgres: PostgresServer,
) -> None:
    hasty = replace(empty_postgres, statement_timeout=timedelta(seconds=1), lock_timeout=timedelta(seconds=1))

    async with migrating_engine(hasty) as engine, engine.connect() as connection:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        limits = [(await connection.execute(text(f"SHOW {name}"))).scalar() for name in names]

    assert limits == ["0", "6h", "6h"]


async def test_whoever_comes_second_waits_for_the_first_whatever_the_time_outs_for_requests(
    empty_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    hasty = replace(empty_postgres, statement_timeout=timedelta(seconds=0.1), lock_timeout=timedelta(seconds=0.1))
    caplog.set_level(logging.INFO)
    first = postgres_engine(empty_postgres)
    async with first.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})
        second = asyncio.create_task(migrate_server(hasty))
        while not (await connection.execute(text(WAITING))).scalar():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        await asyncio.wait([second], timeout=0.5)  # five times as long as a request would wait

        assert not second.done()
    assert await second
    assert "Another process is migrating the database" in caplog.text
    await first.dispose()


async def test_a_migration_gives_up_soon_on_a_table_that_is_in_use_and_leaves_everything_as_it_was(
    empty_postgres: PostgresServer,
) -> None:
    engine = postgres_engine(empty_postgres)
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade_to, BEFORE_EMBEDDINGS)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT count(*) FROM chunks"))  # as a backup does for hours

        with pytest.raises(DatabaseUnavailable):
            await migrate(engine, table_patience=timedelta(seconds=0.1))
    left = await pending(engine)

    assert left == await pending_on_server(empty_postgres)
    assert left[0].startswith("20261126_05")
    assert await migrate(engine, table_patience=timedelta(seconds=0.1))
    await engine.dispose()


# What is pending -----------------------------------------------------------------------------------------------------


async def test_what_is_pending_is_told_and_not_done(path: Path, empty_postgres: PostgresServer) -> None:
    everything = sorted(file.stem for file in (MIGRATIONS / "versions").glob("*.py"))

    for _ in range(2):
        assert await pending_in_sqlite(path) == everything
        assert await pending_on_server(empty_postgres) == everything

    assert not await asyncio.to_thread(path.exists)


async def test_after_a_migration_nothing_is_pending(path: Path, postgres: PostgresServer) -> None:
    await migrate_sqlite(path)

    assert await pending_in_sqlite(path) == []
    assert await pending_on_server(postgres) == []


BEFORE_EMBEDDINGS = "20261126_04"
OLD_ROWS = """
INSERT INTO users VALUES (1, 'ada', 'hash', 1, '2026-03-01 12:00:00.000000+00:00');
INSERT INTO knowledge_bases (id, owner, name, embedding_model, dimensions, created_at)
    VALUES ('shelf-1', 1, 'A shelf', 'hash-4', 4, '2026-03-01 12:00:00.000000+00:00');
INSERT INTO documents (id, knowledge_base_id, owner, embedding_model, dimensions, name, file_type, size, sha256, state,
    attempt, created_at) VALUES
    ('ready', 'shelf-1', 1, 'hash-4', 4, 'a.txt', 'txt', 1, '', 'ready', 2, '2026-03-01 12:00:00.000000+00:00'),
    ('begun', 'shelf-1', 1, 'hash-4', 4, 'b.txt', 'txt', 1, '', 'pending', 1, '2026-03-01 12:00:00.000000+00:00'),
    ('gone', NULL, 1, 'old-4', 4, 'c.txt', 'txt', 1, '', 'deleted', 1, '2026-03-01 12:00:00.000000+00:00');
INSERT INTO document_statistics VALUES ('ready', x'0102');
INSERT INTO chunks (document_id, position, start, "end", text, search_text, vector) VALUES
    ('ready', 0, 0, 5, 'hello', 'hello', x'0102030405060708090a0b0c0d0e0f10'),
    ('ready', 1, 5, 9, 'hell', 'hell', NULL);
"""


def _upgrade_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def test_vectors_of_before_are_those_of_their_space(path: Path) -> None:
    path.parent.mkdir()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        _upgrade_to(connection, BEFORE_EMBEDDINGS)
    engine.dispose()
    with closing(sqlite3.connect(path)) as old:
        old.executescript(OLD_ROWS)

    async with SqlStore.open(path) as store:
        chunks = await store.knowledge_views.chunks(SPACE)
        statistics = await store.knowledge_views.statistics(SHELF, SPACE)
        async with store.transactions() as work:
            spaces = await work.documents.spaces_of([DocumentId(name) for name in ("ready", "begun", "gone")])
            lacking = await work.documents.lacking(SHELF, SPACE, limit=10)

    assert [(one.document, one.attempt, one.vector) for one in chunks] == [
        ("ready", 2, bytes(range(1, 17))),
        ("ready", 2, None),
    ]
    assert list(statistics) == [b"\x01\x02"]
    assert {space.model: sorted(there) for space, there in spaces.items()} == {
        "hash-4": ["begun", "ready"],
        "old-4": ["gone"],
    }
    assert not lacking
