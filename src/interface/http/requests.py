"""Reading what a client sent, strictly: types as documented, ids in ASCII digits, no NUL anywhere."""

import re
from collections.abc import AsyncGenerator
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import Scope

from llm_backend.domain.errors import ConversationNotFound
from llm_backend.domain.ids import LARGEST_ID, AnswerId, ConversationId, UserId
from llm_backend.domain.users import Session
from llm_backend.interface.http.errors import (
    JSON_REQUIRED,
    InvalidBody,
    InvalidParameter,
    MalformedJson,
    UnsupportedEncoding,
)

ID_DIGITS = len(str(LARGEST_ID))

_MISSING = re.compile(r"missing required field `([^`]*)`")


class ApiRequest(Request[UserId, Session, State]):
    """A request to the API. `caller` and `owner` are there on every route that asks for a token."""

    @property
    def caller(self) -> Session:
        return self.scope["auth"]  # type: ignore[no-any-return]

    @property
    def owner(self) -> UserId:
        return self.caller.user

    @property
    def address(self) -> str:
        """Where the connection comes from. What `X-Forwarded-For` claims, anybody can claim."""
        client = self.scope["client"]
        return client[0] if client else ""

    def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces; whoever wants it whole gets it from here, too. Raises `UnsupportedEncoding`."""
        encodings = (value for name, value in self.scope["headers"] if name == b"content-encoding")
        if any(encoding.strip().lower() not in {b"", b"identity"} for encoding in encodings):
            raise UnsupportedEncoding
        return super().stream()

    async def json(self) -> Any:
        """The body as the very type that the handler declares for `data`, or `InvalidBody`, `MalformedJson`.

        Litestar's own way decodes to plain objects and converts those leniently: `"5"` would pass for a number.
        """
        field = self.route_handler.parsed_data_field
        return decoded(await self.body(), field.annotation if field else Any)


def decoded(body: bytes, kind: Any) -> Any:
    """Raises `MalformedJson` or `InvalidBody`."""
    if not body:
        raise MalformedJson(JSON_REQUIRED)
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look at the text of fields that it skips
        value = _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise InvalidBody(f"The request body is not valid: {error}", param=_culprit(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson from error
    if b"\\u0000" in body and _has_nul(msgspec.to_builtins(value, enc_hook=_unread)):
        raise InvalidBody("Texts must not contain NUL characters")
    return value


def _culprit(complaint: str) -> str | None:
    """The field that msgspec complains about, such as `messages[0].role`."""
    _, found, path = complaint.rpartition(" - at `$")
    path = path.rstrip("`").lstrip(".") if found else ""
    missing = _MISSING.search(complaint)
    return ".".join(filter(None, [path, missing[1] if missing else ""])) or None


@lru_cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _unread(_: object) -> None:
    """For parts that are left as they came: whoever reads them decodes them, and looks then."""


def _has_nul(value: object) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_has_nul(part) for item in value.items() for part in item)
        case list():
            return any(map(_has_nul, value))
        case _:
            return False


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that name. Walking the list once is cheaper than Litestar's header object."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def parsed_id(text: str) -> int | None:
    """A number from 1 to 2^53-1 in plain digits. `int` alone takes `+5`, `1_000` and the digits of every script."""
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS):
        return None
    number = int(text)
    return number if 1 <= number <= LARGEST_ID else None


def conversation_in(path: str) -> ConversationId:
    """Raises `ConversationNotFound`: what cannot be an id is the id of nothing."""
    number = parsed_id(path)
    if number is None:
        raise ConversationNotFound
    return ConversationId(number)


def checked_text(value: str) -> str:
    """A query parameter or form field that goes to a database. Raises `InvalidParameter`."""
    if "\x00" in value:
        raise InvalidParameter("Texts must not contain NUL characters")
    return value


def last_event(text: str | None) -> tuple[AnswerId, int] | None:
    """The answer and event that a `Last-Event-ID` of ours names; None when it is none of ours."""
    answer, dot, number = (text or "").partition(".")
    parsed_answer, parsed_number = parsed_id(answer), parsed_id(number)
    if not dot or parsed_answer is None or parsed_number is None:
        return None
    return AnswerId(parsed_answer), parsed_number
