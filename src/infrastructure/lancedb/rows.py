"""Chunks as rows of a LanceDB table, and back."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import Chunk, StoredChunk

KEY = "key"
# fmt: off
COLUMNS = [
    "kb_id", "document", "attempt", "position", "start", "end", "text", "headings", "page", "sheet", "search_text",
]
# fmt: on


@lru_cache(16)
def schema(dimensions: int) -> pa.Schema:
    """`start` and `end` count code points of the document's text.

    LanceDB holds two writers of the same primary key apart, in different processes too: without the mark, both of
    them would insert their row.
    """
    primary = {b"lance-schema:unenforced-primary-key": b"true"}
    return pa.schema(
        [
            pa.field(KEY, pa.string(), nullable=False, metadata=primary),
            pa.field("kb_id", pa.string(), nullable=False),
            pa.field("document", pa.string(), nullable=False),
            pa.field("attempt", pa.int32(), nullable=False),
            pa.field("position", pa.int32(), nullable=False),
            pa.field("start", pa.int64(), nullable=False),
            pa.field("end", pa.int64(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("headings", pa.list_(pa.string()), nullable=False),
            pa.field("page", pa.int32(), nullable=True),
            pa.field("sheet", pa.string(), nullable=True),
            pa.field("search_text", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=True),
        ]
    )


def to_table(chunks: Sequence[StoredChunk], dimensions: int) -> pa.Table:
    """Raises `ValueError` when a vector has other dimensions."""
    columns: list[Any] = [
        [f"{stored.document}/{stored.attempt}/{stored.chunk.position}" for stored in chunks],
        [stored.knowledge_base for stored in chunks],
        [stored.document for stored in chunks],
        [stored.attempt for stored in chunks],
        [stored.chunk.position for stored in chunks],
        [stored.chunk.start for stored in chunks],
        [stored.chunk.end for stored in chunks],
        [stored.chunk.text for stored in chunks],
        [list(stored.chunk.headings) for stored in chunks],
        [stored.chunk.page for stored in chunks],
        [stored.chunk.sheet for stored in chunks],
        [stored.chunk.search_text for stored in chunks],
        _vectors([stored.vector for stored in chunks], dimensions),
    ]
    form = schema(dimensions)
    arrays = [pa.array(column, type_) for column, type_ in zip(columns, form.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=form)


def from_row(row: Mapping[str, Any]) -> StoredChunk:
    return StoredChunk(
        knowledge_base=KnowledgeBaseId(row["kb_id"]),
        document=DocumentId(row["document"]),
        attempt=row["attempt"],
        chunk=Chunk(
            position=row["position"],
            start=row["start"],
            end=row["end"],
            text=row["text"],
            headings=tuple(row["headings"]),
            page=row["page"],
            sheet=row["sheet"],
            search_text=row["search_text"],
        ),
    )


def direction(vector: bytes | None) -> NDArray[np.float32] | None:
    """None also for the vector without a length: nothing lies in its direction."""
    if vector is None:
        return None
    numbers = np.frombuffer(vector, "<f4")
    return numbers if numbers.any() else None


def _vectors(vectors: Sequence[bytes | None], dimensions: int) -> pa.Array:
    if any(vector is not None and len(vector) != 4 * dimensions for vector in vectors):
        raise ValueError(f"a vector does not have {dimensions} dimensions")
    blank = bytes(4 * dimensions)
    numbers = np.frombuffer(b"".join(blank if vector is None else vector for vector in vectors), "<f4")
    missing = pa.array([vector is None for vector in vectors])
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), dimensions, mask=missing)
