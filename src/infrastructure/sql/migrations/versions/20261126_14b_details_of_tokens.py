"""Of an answer's tokens, how many were read from a cache, and how many were spent on reasoning."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_14b"
down_revision = "20261126_14"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("cached_tokens", sa.BigInteger(), nullable=True))
    op.add_column("messages", sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True))
