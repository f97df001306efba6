"""Answers know the API key by which they were asked for, which another process may have to charge."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_12"
down_revision = "20261126_11"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("answers", sa.Column("key_id", sa.Text(), nullable=True))
