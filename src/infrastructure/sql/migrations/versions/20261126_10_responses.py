"""Responses, items of messages, and what conversations need for both."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_10"
down_revision = "20261126_09b"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("listed", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("conversations", sa.Column("metadata", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("content", sa.Text(), nullable=True))
    op.create_table(
        "responses",
        sa.Column("answer_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("previous", sa.BigInteger(), nullable=True),
        sa.Column("request", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("answer_id", name="pk_responses"),
        sa.ForeignKeyConstraint(
            ["answer_id"], ["answers.id"], ondelete="CASCADE", name="fk_responses_answer_id_answers"
        ),
    )
