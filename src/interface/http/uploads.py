"""Files on their way from a multipart form to the disk: never in memory as a whole, never under a name of the
sender's choice."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from multipart import MultipartError, MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

from llm_backend.application.originals import scratch_file
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.uploads import SubmitDocument, UploadDocument, Uploaded
from llm_backend.domain.errors import Invalid, InvalidAttributes, StorageFull
from llm_backend.domain.filters import Attributes
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.interface.http.errors import InvalidBody, InvalidForm, MalformedJson, MissingFormField
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.requests import ApiRequest, checked_text, decoded

LONGEST_FIELD = 65_536  # bytes: sixteen attributes in any script
MOST_PARTS = 20
WRITTEN_AT_ONCE = 1024 * 1024  # bytes: a trip to a thread for each read would cost more than the writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A multipart form whose one file is on the disk; `file_name` is what its sender calls it, untrusted."""

    kb_id: str
    file_name: str | None
    sha256: str
    attributes: str = ""
    replace: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)  # all fields but the file, by name


@dataclass(frozen=True, slots=True)
class Uploads:
    """Receive a form and hand its file to a use case. The file is gone from here afterwards, whatever happened."""

    upload_document: UploadDocument
    submit_document: SubmitDocument
    scratch: Path | None = None

    async def read_in(self, request: ApiRequest, *, replace: bool = False) -> Uploaded:
        """Returns when the document is ready."""
        async with self._received(request) as sent:
            return await self.upload_document(
                request.owner,
                sent.knowledge_base,
                sent.file,
                sent.name,
                idempotency=sent.idempotency,
                attributes=sent.attributes,
                replace=sent.replace or replace,
            )

    async def accept(self, request: ApiRequest, *, replace: bool = False) -> DocumentId:
        """Returns when the document is sure to be read in."""
        async with self._received(request) as sent:
            return await self.submit_document(
                request.owner,
                sent.knowledge_base,
                sent.file,
                sent.name,
                idempotency=sent.idempotency,
                attributes=sent.attributes,
                replace=sent.replace or replace,
            )

    @asynccontextmanager
    async def _received(self, request: ApiRequest) -> AsyncIterator["_Sent"]:
        async with scratch_file(self.scratch) as path:
            form = await received(request, path)
            if not form.kb_id:
                raise MissingFormField
            knowledge_base = KnowledgeBaseId(checked_text(form.kb_id))
            try:
                sent = _sent(form, knowledge_base, path, request)
            except Invalid:
                await self.submit_document.check(request.owner, knowledge_base)  # not found goes before not valid
                raise
            yield sent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    knowledge_base: KnowledgeBaseId
    file: Path
    name: str
    idempotency: IdempotencyKey | None
    attributes: Attributes | None
    replace: bool


def _sent(form: Form, knowledge_base: KnowledgeBaseId, file: Path, request: ApiRequest) -> _Sent:
    if not form.file_name:
        raise MissingFormField
    return _Sent(
        knowledge_base=knowledge_base,
        file=file,
        name=form.file_name,
        idempotency=idempotency(request.scope, _identity(form)),
        attributes=_attributes(form.attributes),
        replace=_truth(form.replace),
    )


def _identity(form: Form) -> list[str]:
    """What tells one request from another. Forms without the newer fields go by what they always went by."""
    newer = [form.attributes, form.replace] if form.attributes or form.replace else []
    return [form.kb_id, form.file_name or "", form.sha256, *newer]


def _attributes(text: str) -> Attributes | None:
    """None when the form has none. Raises `InvalidAttributes`."""
    if not text:
        return None
    try:
        given: Attributes = decoded(text.encode(), dict[str, str | bool | int | float])
    except (InvalidBody, MalformedJson) as error:
        raise InvalidAttributes from error
    return given


def _truth(text: str) -> bool:
    if text.lower() not in {"", "true", "false", "1", "0"}:
        raise InvalidForm("The field replace must be true or false")
    return text.lower() in {"true", "1"}


async def received(request: ApiRequest, path: Path) -> Form:
    """Read a form whose file goes to `path`. Raises `MissingFormField`, `InvalidForm` for anything but a whole form in
    valid UTF-8, and `StorageFull`."""
    media_type, options = request.content_type
    boundary = options.get("boundary")
    if media_type != "multipart/form-data" or not boundary:
        raise MissingFormField("The request must be a multipart form with the fields kb_id and file")
    reading = _Reading(path)
    try:
        await _read(request, boundary, reading)
        return reading.finished()
    except (MultipartError, UnicodeDecodeError) as error:
        raise InvalidForm from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull from error
        raise
    finally:
        reading.close()


async def _read(request: ApiRequest, boundary: str, reading: "_Reading") -> None:
    with PushMultipartParser(boundary, max_segment_count=MOST_PARTS) as parser:
        async for chunk in request.stream():
            if chunk and not parser.closed:
                reading.take(parser.parse(chunk))
                await reading.save(at_least=WRITTEN_AT_ONCE)
    await reading.save(at_least=1, is_last=True)


class _Reading:
    """What the parts of a form become, one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None  # in the thread, which opens it when there is something to write
        self._file_name: str | None = None
        self._digest = hashlib.sha256()
        self._unsaved = bytearray()
        self._texts: dict[str, bytearray] = {}
        self._part = bytearray()  # where more of the present part goes

    def take(self, events: Iterable[MultipartSegment | bytes | None]) -> None:
        """A segment begins a part, bytes are more of it, None ends it."""
        for event in events:
            if isinstance(event, MultipartSegment):
                self._begin(event)
            elif event:
                self._part += event
                if self._part is not self._unsaved and len(self._part) > LONGEST_FIELD:
                    raise InvalidForm

    def _begin(self, part: MultipartSegment) -> None:
        if part.name == "file" and part.filename and self._file_name is None:
            self._file_name = part.filename
            self._part = self._unsaved
        elif part.filename:
            raise InvalidForm("The form must carry one file, in the field file")
        else:
            self._part = self._texts.setdefault(part.name or "", bytearray())

    async def save(self, *, at_least: int, is_last: bool = False) -> None:
        if len(self._unsaved) >= at_least:
            await asyncio.to_thread(self._write, bytes(self._unsaved), is_last)
            self._unsaved.clear()

    def _write(self, content: bytes, is_last: bool) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(content)
        self._digest.update(content)
        if is_last:
            self._file.close()

    def close(self) -> None:
        """What is not on the disk yet is not wanted."""
        if self._file is not None:
            with suppress(OSError):  # a full disk has been told of
                self._file.close()

    def finished(self) -> Form:
        """Raises `UnicodeDecodeError`."""
        texts = {name: text.decode() for name, text in self._texts.items()}
        return Form(
            kb_id=texts.get("kb_id", ""),
            file_name=self._file_name,
            sha256=self._digest.hexdigest(),
            attributes=texts.get("attributes", ""),
            replace=texts.get("replace", ""),
            texts=texts,
        )
