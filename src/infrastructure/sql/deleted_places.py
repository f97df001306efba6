"""Where deleted things were in lists: noted down in the transaction that deletes them, and looked up by the views when
they find nothing by an id.

Each of the former is one statement for however many things, to be carried out before they are deleted.
"""

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Insert,
    ScalarSelect,
    Text,
    case,
    cast,
    func,
    insert,
    literal_column,
    select,
)

from llm_backend.infrastructure.sql.rows import (
    DELETED,
    conversations,
    deleted_places,
    documents,
    file_attachments,
    files,
    knowledge_bases,
)

CONVERSATION = literal_column("'conversation'", Text)
KNOWLEDGE_BASE = literal_column("'knowledge_base'", Text)
FILE = literal_column("'file'", Text)


def note_conversations(which: ColumnElement[bool]) -> Insert:
    return insert(deleted_places).from_select(
        ["kind", "owner", "id", "place"],
        select(CONVERSATION, conversations.c.owner, cast(conversations.c.id, Text), conversations.c.sequence).where(
            which
        ),
    )


def note_knowledge_bases(which: ColumnElement[bool]) -> Insert:
    return insert(deleted_places).from_select(
        ["kind", "owner", "id", "place"],
        select(KNOWLEDGE_BASE, knowledge_bases.c.owner, knowledge_bases.c.id, knowledge_bases.c.sequence).where(which),
    )


def note_files(which: ColumnElement[bool]) -> Insert:
    """Among the files."""
    return insert(deleted_places).from_select(
        ["kind", "owner", "id", "made_at"], select(FILE, files.c.owner, files.c.id, files.c.created_at).where(which)
    )


def note_documents(which: ColumnElement[bool]) -> Insert:
    """In their vector stores, by the files that they were; and those that are files of their own also among the files.
    Those that are deleted already have been noted down."""
    return insert(deleted_places).from_select(
        ["kind", "owner", "id", "knowledge_base_id", "place", "made_at"],
        select(
            FILE,
            documents.c.owner,
            func.coalesce(file_attachments.c.file_id, documents.c.id),
            documents.c.knowledge_base_id,
            documents.c.sequence,
            case((file_attachments.c.document_id.is_(None), documents.c.created_at)),
        )
        .outerjoin_from(documents, file_attachments, file_attachments.c.document_id == documents.c.id)
        .where(which, documents.c.state != DELETED),
    )


def deleted_place(
    kind: ColumnElement[str],
    owner: BindParameter[int],
    id_: ColumnElement[str],
    of: ColumnElement[str] | None = None,
) -> ScalarSelect[int]:
    """Where that was, of whatever it was a part: the last place, where it was deleted more than once. Nothing, if it
    is not remembered."""
    found = select(func.max(deleted_places.c.place)).where(
        deleted_places.c.owner == owner, deleted_places.c.kind == kind, deleted_places.c.id == id_
    )
    return (found if of is None else found.where(deleted_places.c.knowledge_base_id == of)).scalar_subquery()
