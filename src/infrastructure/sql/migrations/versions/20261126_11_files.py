"""Files by themselves, and knowledge bases as vector stores."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_11"
down_revision = "20261126_10"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.ForeignKeyConstraint(["owner"], ["users.id"], ondelete="CASCADE", name="fk_files_owner_users"),
    )
    op.create_index("ix_files_owner_created_at_id", "files", ["owner", "created_at", "id"])
    op.create_index("ix_files_expires_at", "files", ["expires_at"])
    op.create_table(
        "file_attachments",
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("longest", sa.Integer(), nullable=True),
        sa.Column("overlap", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("document_id", name="pk_file_attachments"),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], ondelete="CASCADE", name="fk_file_attachments_document_id_documents"
        ),
        sa.ForeignKeyConstraint(
            ["file_id"], ["files.id"], ondelete="CASCADE", name="fk_file_attachments_file_id_files"
        ),
    )
    op.create_index("ix_file_attachments_file_id", "file_attachments", ["file_id"])
    op.create_table(
        "vector_stores",
        sa.Column("knowledge_base_id", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("expires_after", sa.BigInteger(), nullable=True),
        sa.Column("last_active_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("knowledge_base_id", name="pk_vector_stores"),
        sa.ForeignKeyConstraint(
            ["knowledge_base_id"],
            ["knowledge_bases.id"],
            ondelete="CASCADE",
            name="fk_vector_stores_knowledge_base_id_knowledge_bases",
        ),
    )
    op.create_index("ix_vector_stores_expires_after", "vector_stores", ["expires_after"])
    op.create_table(
        "file_batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.BigInteger(), nullable=False),
        sa.Column("knowledge_base_id", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("is_cancelled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_file_batches"),
        sa.ForeignKeyConstraint(["owner"], ["users.id"], ondelete="CASCADE", name="fk_file_batches_owner_users"),
        sa.ForeignKeyConstraint(
            ["knowledge_base_id"],
            ["knowledge_bases.id"],
            ondelete="CASCADE",
            name="fk_file_batches_knowledge_base_id_knowledge_bases",
        ),
    )
    op.create_index("ix_file_batches_owner", "file_batches", ["owner"])
    op.create_index("ix_file_batches_knowledge_base_id", "file_batches", ["knowledge_base_id"])
    op.create_table(
        "file_batch_documents",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "document_id", name="pk_file_batch_documents"),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["file_batches.id"], ondelete="CASCADE", name="fk_file_batch_documents_batch_id_file_batches"
        ),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            ondelete="CASCADE",
            name="fk_file_batch_documents_document_id_documents",
        ),
    )
    op.create_index("ix_file_batch_documents_document_id", "file_batch_documents", ["document_id"])
