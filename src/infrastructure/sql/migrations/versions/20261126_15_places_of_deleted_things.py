"""Where deleted things were in lists is remembered for a while, so that pages go on behind them."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_15"
down_revision = "20261126_14b"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "deleted_places",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("owner", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("knowledge_base_id", sa.Text(), nullable=True),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("made_at", MOMENT, nullable=True),
        sa.Column("noticed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("sequence", name="pk_deleted_places"),
        sa.ForeignKeyConstraint(["owner"], ["users.id"], ondelete="CASCADE", name="fk_deleted_places_owner_users"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deleted_places_owner_kind_id", "deleted_places", ["owner", "kind", "id"])
    op.create_index("ix_deleted_places_noticed_at", "deleted_places", ["noticed_at"])
