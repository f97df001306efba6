"""What is in a ready document: its text, in parts or whole, with the blocks that it is made of, and its chunks."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Integer, Text, and_, bindparam, exists, func, select

from llm_backend.domain.errors import DocumentNotFound
from llm_backend.domain.ids import DocumentId, UserId
from llm_backend.domain.knowledge import Block, Chunk, Excerpt
from llm_backend.infrastructure.codec.blocks import blocks_from, blocks_value
from llm_backend.infrastructure.sql.mapping import CHUNK_COLUMNS, DOCUMENT_COLUMNS, Values, chunk_from, document_from
from llm_backend.infrastructure.sql.ports import Reader
from llm_backend.infrastructure.sql.rows import (
    BLOCKS_PART,
    IS_FINDABLE,
    READY,
    TEXT_PART,
    chunks,
    document_blocks,
    document_texts,
    documents,
)
from llm_backend.infrastructure.sql.statements import Query, Row

_OWNER = bindparam("owner", type_=BigInteger)
_DOCUMENT = bindparam("document", type_=Text)

_OWNED_READY = and_(documents.c.id == _DOCUMENT, documents.c.owner == _OWNER, documents.c.state == READY)
_READY_ONE = select(*DOCUMENT_COLUMNS).where(_OWNED_READY)
_OWNED_FINDABLE = and_(documents.c.id == _DOCUMENT, documents.c.owner == _OWNER, IS_FINDABLE)
_FINDABLE_ONE = select(documents.c.id).where(_OWNED_FINDABLE)
_PARTS = (
    select(document_texts.c.text)
    .where(
        document_texts.c.document_id == _DOCUMENT,
        document_texts.c.part.between(bindparam("first", type_=Integer), bindparam("last", type_=Integer)),
        exists().where(_OWNED_FINDABLE),
    )
    .order_by(document_texts.c.part)
)
_LAST_PART = (
    select(document_texts.c.part, func.length(document_texts.c.text))
    .where(document_texts.c.document_id == _DOCUMENT, exists().where(_OWNED_READY))
    .order_by(document_texts.c.part.desc())
    .limit(1)
)
_BLOCKS = (
    select(document_blocks.c.blocks)
    .where(
        document_blocks.c.document_id == _DOCUMENT,
        document_blocks.c.start < bindparam("end", type_=Integer),
        document_blocks.c.end > bindparam("start", type_=Integer),
        exists().where(_OWNED_READY),
    )
    .order_by(document_blocks.c.part)
)
_CHUNKS = (
    select(*CHUNK_COLUMNS)
    .where(
        chunks.c.document_id == _DOCUMENT,
        chunks.c.position > bindparam("after", type_=Integer),
        exists().where(_OWNED_READY),
    )
    .order_by(chunks.c.position)
    .limit(bindparam("limit", type_=Integer))
)


class SqlContents:
    """The part of `KnowledgeViews` that is about one ready document."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._ready = reader.prepare(_READY_ONE)
        self._findable = reader.prepare(_FINDABLE_ONE)
        self._parts = reader.prepare(_PARTS)
        self._last_part = reader.prepare(_LAST_PART)
        self._blocks = reader.prepare(_BLOCKS)
        self._chunks = reader.prepare(_CHUNKS)

    async def quotation(self, owner: UserId, document: DocumentId, start: int, end: int) -> str | None:
        values = {"owner": owner, "document": document}
        found, parts = await self._reader.fetch(Query(self._findable, values), self._parts_between(values, start, end))
        return _cut(parts, start, end) if found else None

    async def excerpt(self, owner: UserId, document: DocumentId, start: int, end: int) -> Excerpt:
        values = {"owner": owner, "document": document, "start": start, "end": end}
        ready, parts, last_part, blocks = await self._reader.fetch(
            Query(self._ready, values),
            self._parts_between(values, start, end),
            Query(self._last_part, values),
            Query(self._blocks, values),
        )
        if not ready:
            raise DocumentNotFound
        return Excerpt(
            document=document_from(ready[0]),
            length=sum(part * TEXT_PART + length for part, length in last_part),
            start=start,
            text=_cut(parts, start, end),
            blocks=[block for block in blocks_from(value for (value,) in blocks) if _touches(block, start, end)],
        )

    async def chunks(self, owner: UserId, document: DocumentId, *, after: int, limit: int) -> Sequence[Chunk]:
        values = {"owner": owner, "document": document, "after": after, "limit": limit}
        ready, found = await self._reader.fetch(Query(self._ready, values), Query(self._chunks, values))
        if not ready:
            raise DocumentNotFound
        return list(map(chunk_from, found))

    def _parts_between(self, values: Values, start: int, end: int) -> Query:
        return Query(self._parts, {**values, "first": start // TEXT_PART, "last": end // TEXT_PART})


def _cut(parts: Sequence[Row], start: int, end: int) -> str:
    """Characters `start` to `end` of a text of which these are the parts from that of `start` on."""
    before = start // TEXT_PART * TEXT_PART
    return "".join(text for (text,) in parts)[start - before : end - before]


def _touches(block: Block, start: int, end: int) -> bool:
    return block.start < end and block.end > start


def block_values(document: DocumentId, blocks: Sequence[Block]) -> list[Values]:
    """One set for each part of them."""
    parts = [blocks[first : first + BLOCKS_PART] for first in range(0, len(blocks), BLOCKS_PART)]
    return [
        {
            "document_id": document,
            "part": number,
            "start": part[0].start,
            "end": part[-1].end,
            "blocks": blocks_value(part),
        }
        for number, part in enumerate(parts)
    ]
