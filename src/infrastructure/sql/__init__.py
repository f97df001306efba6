"""The truth, in SQL: in SQLite or PostgreSQL."""

from llm_backend.infrastructure.sql.migrating import SchemaTooNew
from llm_backend.infrastructure.sql.server import PostgresServer
from llm_backend.infrastructure.sql.store import (
    SqlStore,
    migrate_server,
    migrate_sqlite,
    pending_in_sqlite,
    pending_on_server,
)

__all__ = [
    "PostgresServer",
    "SchemaTooNew",
    "SqlStore",
    "migrate_server",
    "migrate_sqlite",
    "pending_in_sqlite",
    "pending_on_server",
]
