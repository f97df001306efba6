"""What the server and a reading process say to each other: frames of a length and a msgpack body."""

from dataclasses import dataclass

import msgspec

from llm_backend.domain.errors import (
    DocumentEmpty,
    DocumentEncrypted,
    DocumentScanned,
    DocumentTooLarge,
    DocumentUnreadable,
    DomainError,
    UnsupportedDocument,
)
from llm_backend.domain.knowledge import ParsedDocument

LENGTH_BYTES = 4
READY = b"ready"
ERRORS: dict[str, type[DomainError]] = {
    leaf.code: leaf
    for leaf in (
        DocumentEmpty,
        DocumentEncrypted,
        DocumentScanned,
        DocumentTooLarge,
        DocumentUnreadable,
        UnsupportedDocument,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    path: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A document, or why there is none. `detail` is for the log. `retire`: this process should read nothing more."""

    document: ParsedDocument | None = None
    code: str = ""
    message: str = ""
    detail: str = ""
    retire: bool = False

    def document_or_error(self) -> ParsedDocument:
        if self.document is None:
            raise ERRORS[self.code](self.message)
        return self.document


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
