"""`/v1/files`: files by themselves, and those that were uploaded into a knowledge base."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from llm_backend.application.files import DeleteFile, FindFile, ListFiles, ReadFile, UploadFile
from llm_backend.application.originals import scratch_file
from llm_backend.domain.api_keys import Scope
from llm_backend.domain.errors import InvalidFileExpiry
from llm_backend.domain.files import Purpose, StoredFile
from llm_backend.interface.http.documentation import SIGNED_IN
from llm_backend.interface.http.errors import InvalidForm, MissingFormField
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.documentation import FileOperation, openai_failures
from llm_backend.interface.http.openai.ids import FILE, NO_FILE, file_in, uuid_id
from llm_backend.interface.http.openai.lists import Page, PageQuery, neighbour, page_of, page_query
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.rest.parameters import Asked
from llm_backend.interface.http.uploads import Form, received

TAGS = ["OpenAI"]
MOST_FILES = 10_000  # in one page
_EXPIRY_DIGITS = 9


class FileOut(msgspec.Struct):
    """`bytes` is the size. Times are Unix times."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Purpose
    expires_at: int | None
    status: Literal["processed"] = "processed"
    status_details: None = None
    object: Literal["file"] = "file"


class FileDeletedOut(msgspec.Struct):
    id: str
    deleted: bool = True
    object: Literal["file"] = "file"


@dataclass(frozen=True, slots=True)
class FileUploads:
    """Receive a form and keep its file."""

    upload_file: UploadFile
    scratch: Path | None = None

    async def keep(self, request: OpenAiRequest) -> StoredFile:
        """Raises `MissingFormField`, `InvalidForm`, and what `UploadFile` raises."""
        async with scratch_file(self.scratch) as path:
            form = await _received(request, path)
            return await self.upload_file(
                request.owner,
                path,
                form.file_name or "",
                _purpose(form),
                expires_after=_life(form),
                idempotency=idempotency(request.scope, [form.file_name, form.sha256, sorted(form.texts.items())]),
            )


class FileUploadController(Controller):
    """Apart from the others, because its bodies may be larger."""

    path = "/files"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/",
        status_code=200,
        opt=good_for(Scope.FILES),
        operation_class=FileOperation,
        responses=openai_failures(409, 413, 507),
    )
    async def upload(self, file_uploads: Asked[FileUploads], request: OpenAiRequest) -> FileOut:
        """Upload a file. It can be attached to vector stores afterwards."""
        return file_out(await file_uploads.keep(request))


class FilesController(Controller):
    path = "/files"
    security = SIGNED_IN
    tags = TAGS

    @get(
        "/",
        opt=good_for(Scope.FILES),
        dependencies={"page": page_query(default=MOST_FILES, most=MOST_FILES)},
        responses=openai_failures(),
    )
    async def list_all(
        self,
        list_files: Asked[ListFiles],
        request: OpenAiRequest,
        page: NamedDependency[PageQuery],
        purpose: Annotated[Purpose | None, QueryParameter()] = None,
    ) -> Page[FileOut]:
        """All files of the user, documents that were uploaded into a knowledge base among them."""
        after = neighbour(page.after, file_in, nothing=NO_FILE)
        found = await list_files(
            request.owner, limit=page.limit + 1, purpose=purpose, newest_first=page.newest_first, after=after
        )
        return page_of(map(file_out, found[: page.limit]), _id_of, has_more=len(found) > page.limit)

    @get("/{file_id:str}", opt=good_for(Scope.FILES), responses=openai_failures(404))
    async def find(self, file_id: FromPath[str], find_file: Asked[FindFile], request: OpenAiRequest) -> FileOut:
        """What is known of a file."""
        return file_out(await find_file(request.owner, file_in(file_id)))

    @delete("/{file_id:str}", status_code=200, opt=good_for(Scope.FILES), responses=openai_failures(404, 507))
    async def delete(
        self, file_id: FromPath[str], delete_file: Asked[DeleteFile], request: OpenAiRequest
    ) -> FileDeletedOut:
        """Delete a file, for good and from all vector stores."""
        await delete_file(request.owner, file_in(file_id))
        return FileDeletedOut(file_id)

    @get(
        "/{file_id:str}/content",
        opt=good_for(Scope.FILES),
        responses={
            200: ResponseSpec(
                bytes,
                generate_examples=False,
                description="The file as it was uploaded",
                media_type="application/octet-stream",
            ),
            **openai_failures(404),
        },
    )
    async def content(self, file_id: FromPath[str], read_file: Asked[ReadFile], request: OpenAiRequest) -> Stream:
        """The file as it was uploaded."""
        file, content = await read_file(request.owner, file_in(file_id))
        return Stream(content, media_type="application/octet-stream", headers=_download_headers(file))


def file_out(file: StoredFile) -> FileOut:
    return FileOut(
        id=uuid_id(FILE, file.id),
        bytes=file.size,
        created_at=int(file.created_at.timestamp()),
        filename=file.name,
        purpose=file.purpose,
        expires_at=None if file.expires_at is None else int(file.expires_at.timestamp()),
    )


def _id_of(file: FileOut) -> str:
    return file.id


def _download_headers(file: StoredFile) -> dict[str, str]:
    """Whatever is in the file, no browser is to show it as a page of ours; a reply that is cut off must not look
    whole."""
    return {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "content-length": str(file.size),
    }


async def _received(request: OpenAiRequest, path: Path) -> Form:
    try:
        form = await received(request, path)
    except MissingFormField as error:
        raise MissingFormField("The request must be a multipart form with the fields file and purpose") from error
    if form.file_name is None:
        raise MissingFormField("The form must carry a file, in the field file")
    return form


def _purpose(form: Form) -> Purpose:
    try:
        return Purpose(form.texts.get("purpose", ""))
    except ValueError as error:
        raise InvalidForm(f"The field purpose must be one of {', '.join(Purpose)}") from error


def _life(form: Form) -> timedelta | None:
    anchor, seconds = form.texts.get("expires_after[anchor]"), form.texts.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    digits = seconds or ""
    if anchor != "created_at" or not (digits.isascii() and digits.isdigit() and len(digits) <= _EXPIRY_DIGITS):
        raise InvalidFileExpiry
    return timedelta(seconds=int(digits))
