"""Where vector stores, and the files in them, are in their lists, by id: a `sequence`, or nothing."""

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    ScalarSelect,
    Text,
    bindparam,
    cast,
    func,
    select,
    union_all,
)

from llm_backend.infrastructure.sql.deleted_places import FILE, KNOWLEDGE_BASE, deleted_place
from llm_backend.infrastructure.sql.rows import DELETED, documents, file_attachments, knowledge_bases

OWNER = bindparam("owner", type_=BigInteger)
SHELF = bindparam("shelf", type_=Text)

_neighbours = knowledge_bases.alias("neighbours")


def place_of_store(store: BindParameter[str]) -> ColumnElement[int]:
    """Also of one that has been deleted."""
    found = select(_neighbours.c.sequence).where(_neighbours.c.id == store, _neighbours.c.owner == OWNER)
    return func.coalesce(found.scalar_subquery(), deleted_place(KNOWLEDGE_BASE, OWNER, store))


_there = documents.alias("there")
_as_file = file_attachments.alias("as_file")
_became = file_attachments.alias("became")


def place_of_file(file: BindParameter[str]) -> ScalarSelect[int]:
    """The newest, where a file was attached again. What is done to shelf and owner hides the indexes from SQLite by
    which it would look at all that is there, rather than at what has these names."""
    names = union_all(select(cast(file, Text)), select(_became.c.document_id).where(_became.c.file_id == file))
    return (
        select(func.max(_there.c.sequence))
        .outerjoin(_as_file, _as_file.c.document_id == _there.c.id)
        .where(
            _there.c.id.in_(names),
            func.coalesce(_as_file.c.file_id, _there.c.id) == file,
            func.coalesce(_there.c.knowledge_base_id, "") == SHELF,
            _there.c.owner + 0 == OWNER,
            _there.c.state != DELETED,
        )
        .scalar_subquery()
    )


def last_place_of_file(file: BindParameter[str]) -> ColumnElement[int]:
    """Also of one that has been deleted, or taken out."""
    return func.coalesce(place_of_file(file), deleted_place(FILE, OWNER, file, SHELF))
