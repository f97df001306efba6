"""Vectors, and moves between embedding spaces, to rows and back; as in `mapping`."""

from collections.abc import Iterable

from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, ReindexingId
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.domain.reindexing import Reindexing, ReindexingState
from llm_backend.infrastructure.sql import rows
from llm_backend.infrastructure.sql.mapping import Row, Values


def vector_values(document: DocumentId, space: EmbeddingSpace, vectors: Iterable[tuple[int, bytes]]) -> list[Values]:
    """One set for each chunk that has a position and a vector."""
    return [
        {
            "document_id": document,
            "position": position,
            "embedding_model": space.model,
            "dimensions": space.dimensions,
            "vector": vector,
        }
        for position, vector in vectors
    ]


REINDEXING_COLUMNS = (
    rows.reindexings.c.id,
    rows.reindexings.c.knowledge_base_id,
    rows.reindexings.c.source_model,
    rows.reindexings.c.source_dimensions,
    rows.reindexings.c.target_model,
    rows.reindexings.c.target_dimensions,
    rows.reindexings.c.state,
    rows.reindexings.c.reason,
    rows.reindexings.c.started_at,
    rows.reindexings.c.ended_at,
)


def reindexing_from(row: Row) -> Reindexing:
    id_, shelf, source, source_dimensions, target, target_dimensions, state, reason, started_at, ended_at = row
    return Reindexing(
        id=ReindexingId(id_),
        knowledge_base=KnowledgeBaseId(shelf),
        source=EmbeddingSpace(model=source, dimensions=source_dimensions),
        target=EmbeddingSpace(model=target, dimensions=target_dimensions),
        state=ReindexingState(state),
        reason=reason,
        started_at=started_at,
        ended_at=ended_at,
    )


def reindexing_values(reindexing: Reindexing) -> Values:
    return {
        "id": reindexing.id,
        "knowledge_base_id": reindexing.knowledge_base,
        "source_model": reindexing.source.model,
        "source_dimensions": reindexing.source.dimensions,
        "target_model": reindexing.target.model,
        "target_dimensions": reindexing.target.dimensions,
        "state": reindexing.state.value,
        "reason": reindexing.reason,
        "started_at": reindexing.started_at,
        "ended_at": reindexing.ended_at,
    }
