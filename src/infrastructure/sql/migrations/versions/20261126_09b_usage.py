"""What was used."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_09b"
down_revision = "20261126_09"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("owner", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("is_estimated", sa.Boolean(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name="pk_usage"),
        sa.ForeignKeyConstraint(["owner"], ["users.id"], ondelete="CASCADE", name="fk_usage_owner_users"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_usage_owner_at", "usage", ["owner", "at"])
