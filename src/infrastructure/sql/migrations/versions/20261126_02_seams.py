"""Messages say where another model went on."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_02"
down_revision = "20261123_01"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("seams", sa.Text(), nullable=True))
