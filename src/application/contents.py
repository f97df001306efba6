"""Looking into documents that are ready: their canonical text, the chunks it was cut into, the file as it came."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from llm_backend.application.originals import content_of, opened
from llm_backend.application.ports.blobs import BlobNotFound, Blobs
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.domain.errors import DocumentNotFound, InvalidRange, OriginalNotKept
from llm_backend.domain.ids import DocumentId, UserId
from llm_backend.domain.knowledge import Chunk, Document, DocumentState, DocumentStatus, Excerpt

MOST_CHARACTERS = 1_000_000  # at once: no reply has to hold a text of 20 million
MOST_CHUNKS = 1000


@dataclass(frozen=True, slots=True)
class ReadContent:
    """The canonical text of a document, which the offsets of chunks and citations count in, with its blocks."""

    views: KnowledgeViews

    async def __call__(self, owner: UserId, document: DocumentId, *, start: int = 0, end: int | None = None) -> Excerpt:
        """From character `start` to `end`, the end of the text, or a million characters later, whichever comes first.
        What begins behind the end of the text is nothing at its end.

        Raises `DocumentNotFound` and, when the two are no range, `InvalidRange`.
        """
        if not 0 <= start < 2**31 or (end is not None and end < start):
            raise InvalidRange
        most = start + MOST_CHARACTERS
        excerpt = await self.views.excerpt(owner, document, start, most if end is None else min(end, most))
        return replace(excerpt, start=min(start, excerpt.length))


@dataclass(frozen=True, slots=True)
class ReadChunks:
    """The chunks of a document in the order of its text, page by page."""

    views: KnowledgeViews

    async def __call__(
        self, owner: UserId, document: DocumentId, *, after: int = -1, limit: int = MOST_CHUNKS
    ) -> tuple[DocumentStatus, Sequence[Chunk]]:
        """The document, and up to `limit` (1 to 1000) of its chunks behind position `after`.

        Raises `DocumentNotFound` and, when these make no sense, `InvalidRange`.
        """
        if not (-1 <= after < 2**31 and 1 <= limit <= MOST_CHUNKS):
            raise InvalidRange
        chunks = await self.views.document_chunks(owner, document, after=after, limit=limit)
        return await self.views.document(owner, document), chunks


@dataclass(frozen=True, slots=True)
class Original:
    """A file as it was uploaded. Its content can be read once."""

    document: Document
    content: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class ReadOriginal:
    """The file that a document was read from, as it was uploaded."""

    views: KnowledgeViews
    transactions: UnitOfWorkFactory
    blobs: Blobs

    async def __call__(self, owner: UserId, document: DocumentId) -> Original:
        """Raises `DocumentNotFound`, `Unavailable`, or `OriginalNotKept` when there is none: what was read in by a
        version that did not keep it, or on a server that keeps its files to itself."""
        found = (await self.views.document(owner, document)).document
        if found.state is not DocumentState.READY:
            raise DocumentNotFound
        async with self.transactions() as work:
            attachment = await work.files.attachment(document)
        try:
            return Original(found, await opened(self.blobs, content_of(document, attachment)))
        except BlobNotFound as error:
            raise OriginalNotKept from error
