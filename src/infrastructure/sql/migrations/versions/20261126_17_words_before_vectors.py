"""Documents whose vectors are not there yet are found by their words."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_17"
down_revision = "20261126_16"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("readable_attempt", sa.Integer(), nullable=True))
