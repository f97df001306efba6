"""What is in a document, written: its text, blocks, chunks and vectors."""

from collections.abc import Sequence

from sqlalchemy import Integer, and_, bindparam, delete, insert, null, select, update

from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import Block, Chunk, EmbeddingSpace
from llm_backend.infrastructure.sql.contents import block_values
from llm_backend.infrastructure.sql.mapping import chunk_values, text_values
from llm_backend.infrastructure.sql.reindexing_mapping import vector_values
from llm_backend.infrastructure.sql.rows import chunks, document_blocks, document_texts, embeddings, vectors
from llm_backend.infrastructure.sql.together import Statements

_HAS_TEXT = select(document_texts.c.part).where(document_texts.c.document_id == bindparam("document")).limit(1)
_DROP_CONTENTS = (
    delete(document_texts).where(document_texts.c.document_id == bindparam("document")),
    delete(document_blocks).where(document_blocks.c.document_id == bindparam("document")),
    delete(chunks).where(chunks.c.document_id == bindparam("document")),
    update(embeddings).where(embeddings.c.document_id == bindparam("document")).values(statistics=null()),
)
FIRST, MOST = bindparam("first", type_=Integer), bindparam("most", type_=Integer)
_POSITIONS = (
    select(chunks.c.position)
    .where(chunks.c.document_id == bindparam("document"))
    .order_by(chunks.c.position)
    .offset(FIRST)
    .limit(MOST)
)
VECTORS_IN_SPACE = and_(
    vectors.c.document_id == bindparam("document"),
    vectors.c.embedding_model == bindparam("model"),
    vectors.c.dimensions == bindparam("size"),
)
_DROP_VECTORS = delete(vectors).where(
    VECTORS_IN_SPACE,
    vectors.c.position.between(bindparam("from_here", type_=Integer), bindparam("to_here", type_=Integer)),
)
_ADD_TEXT, _ADD_BLOCKS, _ADD_CHUNKS, _ADD_VECTORS = map(insert, (document_texts, document_blocks, chunks, vectors))


def add_contents(
    statements: Statements, document: DocumentId, text: str, pieces: Sequence[Chunk], blocks: Sequence[Block]
) -> None:
    """Where there are none."""
    statements.execute_each(_ADD_TEXT, text_values(document, text))
    statements.execute_each(_ADD_BLOCKS, block_values(document, blocks))
    statements.execute_each(_ADD_CHUNKS, [chunk_values(document, chunk) for chunk in pieces])


def replace_contents(
    statements: Statements, document: DocumentId, text: str, pieces: Sequence[Chunk], blocks: Sequence[Block]
) -> None:
    """In place of what an attempt that was cut off has left. Mostly there is nothing, which one question tells."""
    if statements.execute(_HAS_TEXT, {"document": document}).rows:
        drop_contents(statements, document)
    add_contents(statements, document, text, pieces, blocks)


def drop_contents(statements: Statements, document: DocumentId) -> None:
    """With the vectors, which hang on the chunks."""
    for step in _DROP_CONTENTS:
        statements.execute(step, {"document": document})


def replace_vectors(
    statements: Statements, document: DocumentId, space: EmbeddingSpace, given: Sequence[bytes], first: int
) -> None:
    """One for each chunk from the `first` on, in order, in place of theirs of a try that was cut off."""
    asked = {"document": document, "first": first, "most": len(given)}
    positions = [position for (position,) in statements.execute(_POSITIONS, asked).rows]
    if positions:
        place = {"document": document, "model": space.model, "size": space.dimensions}
        statements.execute(_DROP_VECTORS, {**place, "from_here": positions[0], "to_here": positions[-1]})
    statements.execute_each(_ADD_VECTORS, vector_values(document, space, zip(positions, given, strict=True)))
