"""Usage that is written again, as the word of a commit was lost, is counted once."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_14"
down_revision = "20261126_13"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("usage", sa.Column("id", sa.Text(), nullable=True))
    op.create_index("ix_usage_id", "usage", ["id"], unique=True)
