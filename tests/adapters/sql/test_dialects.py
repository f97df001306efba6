"""The statements are written for PostgreSQL too."""

import pytest
from sqlalchemy import Select, UpdateBase
from sqlalchemy.dialects.postgresql import asyncpg

from llm_backend.infrastructure.sql import conversation_views, journal, knowledge_views
from llm_backend.infrastructure.sql.repositories import conversations, documents, idempotency, knowledge_bases, users
from llm_backend.infrastructure.sql.statements import prepare

STATEMENTS = [
    pytest.param(statement, id=f"{module.__name__.rpartition('.')[2]}{name}")
    for module in (
        conversation_views,
        knowledge_views,
        journal,
        conversations,
        documents,
        idempotency,
        knowledge_bases,
        users,
    )
    for name, statement in vars(module).items()
    if isinstance(statement, Select | UpdateBase)
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_can_be_prepared_for_postgresql(statement: Select[*tuple[object, ...]] | UpdateBase) -> None:
    prepared = prepare(statement, asyncpg.dialect())  # type: ignore[no-untyped-call]

    assert prepared.text
    assert "?" not in prepared.text
