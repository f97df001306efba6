"""Which conversations came from the old product: they are not taken over again when they have been deleted."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_16"
down_revision = "20261126_15"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "taken_over",
        sa.Column("conversation_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", name="pk_taken_over"),
    )
