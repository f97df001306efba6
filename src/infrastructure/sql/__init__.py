"""The truth, in SQL: SQLite now, written so that PostgreSQL can take its place."""

from llm_backend.infrastructure.sql.migrating import SchemaTooNew
from llm_backend.infrastructure.sql.store import SqlStore, migrate_sqlite

__all__ = ["SchemaTooNew", "SqlStore", "migrate_sqlite"]
