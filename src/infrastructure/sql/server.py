"""Where a database server is, and how it is used. Nothing of its driver is imported with this."""

from dataclasses import dataclass
from datetime import timedelta

from llm_backend.domain.secrets import Secret

SHARE_OF_WORK = 3  # one in three connections is for units of work, the others are for reads
FEWEST = 3  # for work, for reads, and for the journal


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """Where the database is, and what is asked of it."""

    url: Secret
    """postgresql+asyncpg://user:password@host/name"""
    pool_min: int = 1
    """Connections for reads that are made at the start and kept."""
    pool_max: int = 12
    """All connections of this process together; three at the least."""
    connect_timeout: timedelta = timedelta(seconds=10)
    """Also for a connection of the pool to become free."""
    statement_timeout: timedelta | None = timedelta(seconds=30)
    """`None` for as long as it takes."""
    lock_timeout: timedelta = timedelta(seconds=5)
    """How long a row that somebody else is changing is waited for."""

    @property
    def working(self) -> int:
        """Connections for units of work. One of the others is the journal's."""
        return max(1, self.pool_max // SHARE_OF_WORK)

    @property
    def reserved(self) -> int:
        """Connections for what must not queue behind the reads of clients: one, where there are enough."""
        return 1 if self.pool_max > FEWEST else 0

    @property
    def reading(self) -> int:
        """Connections for reads."""
        return max(1, self.pool_max - self.working - self.reserved - 1)
