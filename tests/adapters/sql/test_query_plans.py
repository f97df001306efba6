"""Every hot statement finds its rows by an index, and finds them in order."""

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import ClauseElement, CompoundSelect, Select, UpdateBase

from llm_backend.infrastructure.sql import (
    conversation_views,
    file_views,
    jobs,
    journal,
    knowledge_views,
    leases,
    responses,
    session_views,
)
from llm_backend.infrastructure.sql.repositories import (
    conversations,
    deleted_places,
    document_states,
    documents,
    files,
    knowledge_bases,
    reindexings,
)
from llm_backend.infrastructure.sql.sqlite import SqliteReader
from tests.databases import SqliteTemplate


def statements_of(module: ModuleType) -> Iterator[tuple[str, ClauseElement]]:
    """By name; those of a family, by what tells them apart as well."""
    for name, value in vars(module).items():
        if isinstance(value, Select | CompoundSelect | UpdateBase):
            yield name, value
        elif isinstance(value, Mapping):
            yield from ((f"{name}{key}", one) for key, one in value.items() if isinstance(one, Select | CompoundSelect))


STATEMENTS: dict[str, ClauseElement] = {
    f"{module.__name__.rpartition('.')[2]}{name}": statement
    for module in (
        *(conversation_views, knowledge_views, file_views, responses, journal, leases, jobs, session_views),
        *(conversations, deleted_places, document_states, documents, files, knowledge_bases, reindexings),
    )
    for name, statement in statements_of(module)
}
# What looks at everything on purpose.
EVERYTHING = {"knowledge_views_OF_SHELVES", "reindexings_FORGET", "journal_OUTDATED", "leases_BEATS"}
NO_TABLE = ("SCAN CONSTANT ROW", "SCAN json_each", "SCAN lineage")
# What is sorted nonetheless, as it is little: at most 1000 rows.
SORTED = {"responses_LINEAGE", "files_ATTACHED"}


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - EVERYTHING))
async def test_a_statement_neither_scans_a_table_nor_sorts(
    path: Path, sqlite_template: SqliteTemplate, name: str
) -> None:
    sqlite_template.copy_to(path)
    reader = SqliteReader(path, "plans")
    prepared = reader.prepare(STATEMENTS[name])
    await reader.close()

    connection = sqlite3.connect(path)
    arguments = [None] * len(prepared.parameters)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {prepared.text}", arguments)]
    connection.close()

    scans = [step for step in plan if step.startswith("SCAN") and "INDEX" not in step and not step.startswith(NO_TABLE)]
    assert not scans, plan
    assert name in SORTED or "USE TEMP B-TREE FOR ORDER BY" not in plan, plan
