"""Where deleted things were in lists, in memory."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from llm_backend.domain.ids import ConversationId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Document
from llm_backend.infrastructure.memory.tables import DeletedPlace, Place, Tables


@dataclass(frozen=True, slots=True)
class MemoryDeletedPlaces:
    """Places by what was there."""

    place: Place

    async def forget(self, *, now: datetime, kept_for: timedelta) -> int:
        places = self.place.tables.deleted_places
        old = [key for key, one in places.items() if one.noticed_at and one.noticed_at <= now - kept_for]
        for key in old:
            del places[key]
        for key, one in places.items():
            places[key] = replace(one, noticed_at=one.noticed_at or now)
        return len(old)


def note_place(tables: Tables, owner: UserId, id_: ConversationId | KnowledgeBaseId) -> None:
    """Of a conversation or a knowledge base that is about to be deleted."""
    tables.deleted_places[owner, id_, None] = DeletedPlace(number=tables.numbers[id_])


def note_place_of_file(tables: Tables, owner: UserId, file: FileId, made_at: datetime) -> None:
    """Among the files."""
    tables.deleted_places[owner, file, None] = DeletedPlace(made_at=made_at)


def note_place_of_document(tables: Tables, document: Document) -> None:
    """In its vector store, by the file that it was; and among the files, if it is one of its own."""
    attachment = tables.attachments.get(document.id)
    file = attachment.file if attachment else FileId(document.id)
    place = DeletedPlace(number=tables.numbers[document.id])
    tables.deleted_places[document.owner, file, document.knowledge_base] = place
    if attachment is None:
        note_place_of_file(tables, document.owner, file, document.created_at)


def number_of_deleted(
    tables: Tables,
    owner: UserId,
    id_: ConversationId | KnowledgeBaseId | FileId,
    of: KnowledgeBaseId | None = None,
) -> int | None:
    """Where that was, of whatever it was a part. None, if that is not remembered."""
    found = tables.deleted_places.get((owner, id_, of))
    return found.number if found else None
