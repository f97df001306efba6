"""How a document comes from pending to ready or failed, one attempt after the other."""

from collections.abc import Mapping

from sqlalchemy import Update, and_, bindparam, false, select, true, update

from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.sql.dialects import upsert
from llm_backend.infrastructure.sql.repositories.document_contents import drop_contents
from llm_backend.infrastructure.sql.rows import FAILED, PENDING, READY, documents, embeddings, knowledge_bases
from llm_backend.infrastructure.sql.together import Statements

PENDING_ATTEMPT = and_(
    documents.c.id == bindparam("document"),
    documents.c.attempt == bindparam("number"),
    documents.c.state == PENDING,
)
_PENDING_ONE = and_(documents.c.id == bindparam("document"), documents.c.state == PENDING)
IN_SPACE = and_(
    embeddings.c.document_id == bindparam("document"),
    embeddings.c.embedding_model == bindparam("model"),
    embeddings.c.dimensions == bindparam("size"),
)

# Who holds the knowledge base like this keeps it from being moved to another space until the end. Always before the
# document, as whoever removes a knowledge base does.
HOLD_SPACE = (
    select(knowledge_bases.c.embedding_model, knowledge_bases.c.dimensions)
    .join(documents, documents.c.knowledge_base_id == knowledge_bases.c.id)
    .where(documents.c.id == bindparam("document"))
    .with_for_update(read=True, of=knowledge_bases)
)
EMBEDDING_KEY = ["document_id", "embedding_model", "dimensions"]
ENTER_OWN_SPACE = (
    upsert(embeddings)
    .from_select(
        [*EMBEDDING_KEY, "complete"],
        select(documents.c.id, knowledge_bases.c.embedding_model, knowledge_bases.c.dimensions, false())
        .join(knowledge_bases, knowledge_bases.c.id == documents.c.knowledge_base_id)
        .where(documents.c.id == bindparam("document")),
    )
    .on_conflict_do_nothing(index_elements=EMBEDDING_KEY)
)
_IS_IN_SPACE = select(embeddings.c.document_id).where(IN_SPACE)
COMPLETE = update(embeddings).where(IN_SPACE).values(complete=true())
_BEGIN_ATTEMPT = update(documents).where(_PENDING_ONE).values(attempt=documents.c.attempt + 1)
_ATTEMPT = select(documents.c.attempt).where(documents.c.id == bindparam("document"))
_MARK_READABLE = (
    update(documents)
    .where(PENDING_ATTEMPT)
    .values(readable_attempt=documents.c.attempt, attempt=documents.c.attempt + 1)
)
_MARK_READY = update(documents).where(PENDING_ATTEMPT).values(state=READY)
_MARK_FAILED = update(documents).where(_PENDING_ONE).values(state=FAILED, reason=bindparam("why"))
_CANCEL = _MARK_FAILED.where(documents.c.owner == bindparam("of"))


def begun(statements: Statements, document: DocumentId) -> int | None:
    if not statements.execute(_BEGIN_ATTEMPT, {"document": document}).changed:
        return None
    statements.execute(ENTER_OWN_SPACE, {"document": document})
    ((attempt,),) = statements.execute(_ATTEMPT, {"document": document}).rows
    return int(attempt)


def made_readable(statements: Statements, document: DocumentId, attempt: int, space: EmbeddingSpace) -> int | None:
    there = statements.execute(HOLD_SPACE, {"document": document}).rows
    if [tuple(row) for row in there] != [(space.model, space.dimensions)]:
        return None
    marked = statements.execute(_MARK_READABLE, {"document": document, "number": attempt}).changed
    return attempt + 1 if marked else None


def made_ready(statements: Statements, document: DocumentId, attempt: int) -> bool:
    space = statements.execute(HOLD_SPACE, {"document": document}).rows
    if not space:
        return False
    place = {"document": document, "model": space[0][0], "size": space[0][1]}
    if not statements.execute(_IS_IN_SPACE, place).rows:
        return False
    if not statements.execute(_MARK_READY, {"document": document, "number": attempt}).changed:
        return False
    statements.execute(COMPLETE, place)
    return True


def failed(statements: Statements, document: DocumentId, reason: str) -> bool:
    return _failed(statements, _MARK_FAILED, {"document": document, "why": reason})


def cancelled(statements: Statements, owner: int, document: DocumentId, reason: str) -> bool:
    return _failed(statements, _CANCEL, {"of": owner, "document": document, "why": reason})


def _failed(statements: Statements, mark: Update, values: Mapping[str, object]) -> bool:
    if not statements.execute(mark, values).changed:
        return False
    drop_contents(statements, DocumentId(str(values["document"])))
    return True
