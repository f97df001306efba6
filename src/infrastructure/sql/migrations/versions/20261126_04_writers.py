"""Replicas know who writes which answer, and can go on with it."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_04"
down_revision = "20261126_03"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "writers",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("beat", sa.BigInteger(), nullable=False),
    )
    op.add_column("answers", sa.Column("writer", sa.Text(), nullable=True))
    op.add_column("answers", sa.Column("takeovers", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("answers", sa.Column("stop_wanted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("answers", sa.Column("grounding", sa.Text(), nullable=True))
    running = sa.text("state = 'running'")
    op.create_index("ix_answers_held", "answers", ["writer"], sqlite_where=running, postgresql_where=running)
