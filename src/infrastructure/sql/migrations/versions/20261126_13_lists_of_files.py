"""Lists of files, and of the files of vector stores, are read from where a page begins."""

from alembic import op

revision = "20261126_13"
down_revision = "20261126_12"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_documents_knowledge_base_id_sequence", "documents", ["knowledge_base_id", "sequence"])
    op.create_index("ix_documents_owner_created_at_id", "documents", ["owner", "created_at", "id"])
    op.drop_index("ix_documents_owner", "documents")
