"""Vectors of a document in as many spaces as one likes, and moves of knowledge bases between them."""

import sqlalchemy as sa
from alembic import op

revision = "20261126_07"
down_revision = "20261126_05"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _make_embeddings()
    _move_vectors()
    _make_reindexings()


def _make_embeddings() -> None:
    op.create_table(
        "embeddings",
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("embedding_model", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("statistics", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name="fk_embeddings_document_id_documents", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("document_id", "embedding_model", "dimensions", name="pk_embeddings"),
    )
    op.create_index(
        "ix_embeddings_embedding_model_dimensions_document_id",
        "embeddings",
        ["embedding_model", "dimensions", "document_id"],
    )
    op.create_table(
        "vectors",
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("embedding_model", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id", "position"],
            ["chunks.document_id", "chunks.position"],
            name="fk_vectors_document_id_chunks",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["document_id", "embedding_model", "dimensions"],
            ["embeddings.document_id", "embeddings.embedding_model", "embeddings.dimensions"],
            name="fk_vectors_embeddings",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("document_id", "position", "embedding_model", "dimensions", name="pk_vectors"),
    )


def _move_vectors() -> None:
    """Every document gets a row: also one that was only begun may have left something in the index."""
    op.execute(
        "INSERT INTO embeddings (document_id, embedding_model, dimensions, complete, statistics) "
        "SELECT d.id, d.embedding_model, d.dimensions, d.state = 'ready', s.statistics "
        "FROM documents AS d LEFT JOIN document_statistics AS s ON s.document_id = d.id"
    )
    op.execute(
        "INSERT INTO vectors (document_id, position, embedding_model, dimensions, vector) "
        "SELECT c.document_id, c.position, d.embedding_model, d.dimensions, c.vector "
        "FROM chunks AS c JOIN documents AS d ON d.id = c.document_id WHERE c.vector IS NOT NULL"
    )
    op.drop_table("document_statistics")
    op.drop_column("chunks", "vector")
    op.drop_column("documents", "embedding_model")
    op.drop_column("documents", "dimensions")


def _make_reindexings() -> None:
    op.create_table(
        "reindexings",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("knowledge_base_id", sa.Text(), nullable=False),
        sa.Column("source_model", sa.Text(), nullable=False),
        sa.Column("source_dimensions", sa.Integer(), nullable=False),
        sa.Column("target_model", sa.Text(), nullable=False),
        sa.Column("target_dimensions", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["knowledge_base_id"],
            ["knowledge_bases.id"],
            name="fk_reindexings_knowledge_base_id_knowledge_bases",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sequence", name="pk_reindexings"),
        sa.UniqueConstraint("id", name="uq_reindexings_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reindexings_knowledge_base_id_sequence", "reindexings", ["knowledge_base_id", "sequence"])
    running = sa.text("state = 'running'")
    op.create_index(
        "uq_reindexings_running",
        "reindexings",
        ["knowledge_base_id"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
