"""Every hot statement finds its rows by an index, and finds them in order."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import ClauseElement, Select, UpdateBase

from llm_backend.infrastructure.sql import jobs, journal, leases, views
from llm_backend.infrastructure.sql.repositories import documents, reindexings
from llm_backend.infrastructure.sql.sqlite import SqliteReader
from tests.databases import SqliteTemplate

STATEMENTS: dict[str, ClauseElement] = {
    f"{module.__name__.rpartition('.')[2]}{name}": statement
    for module in (views, journal, leases, documents, reindexings, jobs)
    for name, statement in vars(module).items()
    if isinstance(statement, Select | UpdateBase)
}
# What looks at everything on purpose.
EVERYTHING = {"views_OF_SHELVES", "reindexings_FORGET", "views_COUNT_OUTDATED", "journal_OUTDATED", "leases_BEATS"}
NO_TABLE = ("SCAN CONSTANT ROW", "SCAN json_each")


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - EVERYTHING))
async def test_a_statement_neither_scans_a_table_nor_sorts(
    path: Path, sqlite_template: SqliteTemplate, name: str
) -> None:
    sqlite_template.copy_to(path)
    reader = SqliteReader(path)
    prepared = reader.prepare(STATEMENTS[name])
    await reader.close()

    connection = sqlite3.connect(path)
    arguments = [None] * len(prepared.parameters)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {prepared.text}", arguments)]
    connection.close()

    scans = [step for step in plan if step.startswith("SCAN") and "INDEX" not in step and not step.startswith(NO_TABLE)]
    assert not scans, plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan  # sorting the chunks of one document would be no harm
