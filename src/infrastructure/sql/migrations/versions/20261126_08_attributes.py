"""Documents have attributes, and can replace older ones of their name."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_08"
down_revision = "20261126_07"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("attributes", sa.Text(), nullable=True))
    op.add_column("documents", sa.Column("replaces", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_documents_knowledge_base_id_name", "documents", ["knowledge_base_id", "name"])
