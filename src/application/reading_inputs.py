"""Files among what is said: what they say is read at once, as no model's server reads all kinds of them."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from llm_backend.application.files import FindFile
from llm_backend.application.originals import blob_of, fetched, on_disk
from llm_backend.application.ports.blobs import BlobKey, BlobNotFound, Blobs
from llm_backend.application.ports.clock import IdSource
from llm_backend.application.ports.document_parser import DocumentParser
from llm_backend.application.recalling_items import RecallItem
from llm_backend.domain.errors import (
    DocumentTooLarge,
    FileContentMissing,
    Invalid,
    InvalidInput,
    TooLarge,
    Unsupported,
)
from llm_backend.domain.ids import UserId
from llm_backend.domain.items import Content, FilePart, FunctionResult, Given, Item, Reference, Said
from llm_backend.domain.knowledge import base_name

MOST_FILES = 20  # in one input
LONGEST_TEXT = 4_000_000  # characters, of all files of an input


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadInputFiles:
    """Look up the items that are only referred to, and read the files among the others by the same parser as documents.
    They are kept as they were read, whatever becomes of the stored file."""

    recall: RecallItem
    find: FindFile
    blobs: Blobs
    parser: DocumentParser
    ids: IdSource
    scratch: Path | None = None  # where the parser finds a file; without, the system's folder for temporary files

    async def __call__(self, owner: UserId, items: Sequence[Given]) -> list[Item]:
        """The items, with texts. Raises `ItemNotFound`, `InvalidInput`, `InvalidDocumentName`, `StoredFileNotFound`,
        `FileContentMissing`, what `DocumentParser` raises, with the name of the file in the message, and
        `DocumentTooLarge` when they say more than 4 million characters; `Unavailable` or `StorageFull`."""
        if len(files_of(items)) > MOST_FILES:
            raise InvalidInput(f"An input has at most {MOST_FILES} files")
        read = [await self._item(owner, item) for item in items]
        if sum(len(file.text or "") for file in files_of(read)) > LONGEST_TEXT:
            raise DocumentTooLarge(f"The files of an input have at most {LONGEST_TEXT} characters of text")
        return read

    async def _item(self, owner: UserId, item: Given) -> Item:
        if isinstance(item, Reference):
            return await self.recall(owner, item)  # whose files were read when it was said
        if not isinstance(item, (Said, FunctionResult)) or not files_of([item]):
            return item
        return replace(item, parts=tuple([await self._part(owner, part) for part in item.parts]))

    async def _part(self, owner: UserId, part: Content) -> Content:
        if not isinstance(part, FilePart):
            return part
        if part.file is None:
            part = replace(part, name=base_name(part.name))
            return await self._read(part, on_disk(_content_of(part), self.scratch))
        stored = await self.find(owner, part.file)
        part = replace(part, name=stored.name)
        for key in (blob_of(stored.id), BlobKey(stored.id)):  # the latter of a document's own file
            with suppress(BlobNotFound):
                return await self._read(part, fetched(self.blobs, key, self.scratch))
        raise FileContentMissing

    async def _read(self, part: FilePart, file: AbstractAsyncContextManager[Path]) -> FilePart:
        async with file as path:
            try:
                parsed = await self.parser.parse(path, part.name)
            except (Invalid, TooLarge, Unsupported) as error:
                raise type(error)(f"{part.name}: {error}") from error  # which of them it was
        return replace(part, text=parsed.text, mark=self.ids.uuid())


def files_of(items: Iterable[Given]) -> list[FilePart]:
    """All files among items, in order."""
    holders = (item for item in items if isinstance(item, (Said, FunctionResult)))
    return [part for item in holders for part in item.parts if isinstance(part, FilePart)]


async def _content_of(part: FilePart) -> AsyncIterator[bytes]:
    """Raises `InvalidInput`."""
    yield await asyncio.to_thread(_decoded, part)


def _decoded(part: FilePart) -> bytes:
    head, comma, data = (part.url or "").rpartition(",")
    is_base64 = not comma or (head.startswith("data:") and head.endswith(";base64"))
    with suppress(ValueError):
        if is_base64:
            return base64.b64decode(data, validate=True)
    raise InvalidInput(f"{part.name}: the file must be in base64, or in a data: URL that is")
