"""Errors on the wire: one table from kinds to statuses, one envelope, texts in the language of the route."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

import msgspec
from litestar import Request
from litestar.enums import ParamType
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.types import Receive, Scope, Send

from llm_backend.application.writing import REASONS
from llm_backend.domain.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
    UpstreamFailed,
)
from llm_backend.interface.http.openai_errors import STATUSES as OPENAI_STATUSES
from llm_backend.interface.http.openai_errors import OpenAiErrorOut, is_openai, openai_error
from llm_backend.interface.http.rag_texts import RAG_TEXTS

logger = logging.getLogger(__name__)

STATUSES: Mapping[type[DomainError], int] = {
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    Unsupported: 415,
    QuotaExceeded: 429,
    UpstreamFailed: 500,
    Unavailable: 503,
    StorageFull: 507,
}
REQUEST_ID = "llm_backend.request_id"  # where the edge leaves it in the scope
JSON_REQUIRED = "A JSON body is required"
LINGER = 2.0  # seconds for which the rest of a refused body is read, so that its sender sees the reply

_encode = msgspec.json.Encoder().encode
Headers = tuple[tuple[bytes, bytes], ...]


# What only HTTP can get wrong ----------------------------------------------------------------------------------------


class RouteNotFound(NotFound):
    code = "route_not_found"
    default_message = "There is no such route"


class MalformedJson(Invalid):
    code = "malformed_json"
    default_message = "The request body is not valid JSON"


class UnsupportedEncoding(Unsupported):
    code = "unsupported_encoding"
    default_message = "The request body must be sent as it is: no Content-Encoding is understood"


class InvalidPart(Invalid):
    """Something in a request; `param` names it, where that is known."""

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidBody(InvalidPart):
    code = "invalid_body"
    default_message = "The request body does not have the documented form"


class InvalidParameter(InvalidPart):
    code = "invalid_parameter"
    default_message = "A parameter of the request is not valid"


class InvalidConversationId(Invalid):
    code = "invalid_conversation_id"
    default_message = "The conversation id must be an integer above 0 and below 2^53"


class InvalidForm(Invalid):
    code = "invalid_form"
    default_message = "The request body is not a valid multipart form"


class MissingFormField(Invalid):
    code = "missing_form_field"
    default_message = "The form needs the fields kb_id and file"


class BodyTooLarge(TooLarge):
    code = "body_too_large"
    default_message = "The request body is larger than the limit"


class ClientLeft(Invalid):
    """Nobody is there to read this."""

    code = "client_left"
    default_message = "The connection was closed before the request was complete"


# The envelope --------------------------------------------------------------------------------------------------------


class ErrorOut(msgspec.Struct, omit_defaults=True):
    """What every error looks like: a text for a person, a stable code for a program."""

    error: str
    code: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReply:
    """An error as Litestar wants it of an exception handler: something that turns into an ASGI application."""

    status: int
    code: str
    content: ErrorOut | OpenAiErrorOut
    headers: Headers = ()

    def to_asgi_response(self, *_: object, **__: object) -> "ErrorReply":
        return self

    def written(self) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Headers and body."""
        body = _encode(self.content)
        length = (b"content-length", str(len(body)).encode())
        return [(b"content-type", b"application/json"), length, *self.headers], body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        headers, body = self.written()
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        lingers = self.code == BodyTooLarge.code
        await send({"type": "http.response.body", "body": body, "more_body": lingers})
        if lingers:
            await _discard(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    """Closing a connection whose sender is still busy resets it, and the reply is lost with it."""
    try:
        async with asyncio.timeout(LINGER):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass
    except TimeoutError:
        pass


# From exceptions to replies ------------------------------------------------------------------------------------------


def handle(request: Request[Any, Any, Any], error: Exception) -> Any:
    """The exception handler of the application."""
    return reply_to(error, request.scope)


def reply_to(error: Exception, scope: Scope) -> ErrorReply:
    """Anything that is not expected is a bug: it is logged once, here, and its details stay here."""
    path = scope["path"]
    if isinstance(error, DomainError):
        param = getattr(error, "param", None)
        return refused(_status(type(error), path), error.code, str(error), path, _headers(error), param=param)
    if isinstance(error, MethodNotAllowedException):
        return method_not_allowed(methods_of((error.headers or {}).get("allow", "")), path)
    if translated := _translated(error):
        return reply_to(translated, scope)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return refused(error.status_code, "bad_request", error.detail, path)
    request_id = str(scope.get(REQUEST_ID, ""))
    logger.error("request %s crashed", request_id, exc_info=error)
    return _crash(request_id, path)


def openai_status(error: Exception) -> int:
    """The status that it has under `/v1`."""
    kind = type(error)
    if not issubclass(kind, DomainError):
        return 500
    return next((OPENAI_STATUSES[base] for base in kind.__mro__ if base in OPENAI_STATUSES), _status(kind))


def openai_object(error: Exception) -> OpenAiErrorOut:
    """An error as the last event of a stream under `/v1`. What is no `DomainError` has been logged by the caller."""
    if not isinstance(error, DomainError):
        return openai_error(500, "internal_error", "The stream was broken off")
    return openai_error(openai_status(error), error.code, str(error))


def status_of(code: str) -> int:
    """The status of a `DomainError` of which only the code is known."""
    return _status(_KIND_OF_CODE.get(code, UpstreamFailed))


def text_of_code(code: str) -> str:
    """What a person is told of an error of which only the code is known."""
    kind = _KIND_OF_CODE.get(code)
    return REASONS.get(code) or (kind.default_message if kind else "The answer could not be completed")


def reply_to_code(code: str, message: str, scope: Scope) -> ErrorReply:
    kind = _KIND_OF_CODE.get(code, UpstreamFailed)
    return refused(_status(kind, scope["path"]), code, message, scope["path"])


def methods_of(allowed: str) -> str:
    """Of HEAD, no route knows; and routes take WebSockets for a method."""
    return allowed.replace("GET", "GET, HEAD").replace(", websocket", "")


def method_not_allowed(allowed: str, path: str) -> ErrorReply:
    return refused(405, "method_not_allowed", "Method not allowed", path, ((b"allow", allowed.encode()),))


def refused(
    status: int, code: str, message: str, path: str, headers: Headers = (), *, param: str | None = None
) -> ErrorReply:
    """Each family of routes has an envelope of its own, by the path, whether or not anything is there."""
    content: ErrorOut | OpenAiErrorOut
    if is_openai(path):
        content = openai_error(status, code, message, param)
    else:
        content = ErrorOut(_text(code, message, path, param), code)
    return ErrorReply(status=status, code=code, content=content, headers=headers)


def _crash(request_id: str, path: str) -> ErrorReply:
    content: ErrorOut | OpenAiErrorOut
    if is_openai(path):
        content = openai_error(500, "internal_error", f"Internal server error, request {request_id}")
    else:
        text = _text("internal_error", "Internal server error", path)
        content = ErrorOut(text, "internal_error", request_id)
    return ErrorReply(status=500, code="internal_error", content=content)


def _text(code: str, message: str, path: str, param: str | None = None) -> str:
    """The Chinese texts do not say by themselves what of a request they are about."""
    if not path.startswith("/api/rag") or code not in RAG_TEXTS:
        return message
    return f"{RAG_TEXTS[code]}：{param}" if param else RAG_TEXTS[code]


def _translated(error: Exception) -> DomainError | None:
    """What Litestar raises before a handler is reached, in our words."""
    match error:
        case NotFoundException():
            return RouteNotFound()
        case ValidationException() if _first_of(error).get("key") == "data":  # what Litestar calls the body
            return MalformedJson(JSON_REQUIRED)
        case ValidationException():
            return InvalidParameter(_first_complaint(error), param=_first_of(error).get("key"))
        case InternalServerException(detail="client disconnected prematurely"):
            return ClientLeft()
        case HTTPException(status_code=413):
            return BodyTooLarge()
        case _:
            return None


def _first_complaint(error: ValidationException) -> str | None:
    """Litestar's own text names the query, which may hold anything."""
    first = _first_of(error)
    key, source = first.get("key"), first.get("source", "request")
    return f"The value of {key!r} in the {_word(source)} is not valid" if key else None


def _first_of(error: ValidationException) -> Mapping[str, Any]:
    extra = error.extra
    return extra[0] if isinstance(extra, list) and extra and isinstance(extra[0], dict) else {}


def _word(source: object) -> str:
    """Litestar's names of sources are texts, but do not print as such."""
    return source.value if isinstance(source, ParamType) else str(source)


def _status(kind: type[DomainError], path: str = "") -> int:
    statuses = {**STATUSES, **OPENAI_STATUSES} if is_openai(path) else STATUSES
    return next((statuses[base] for base in kind.__mro__ if base in statuses), 500)


def _headers(error: DomainError) -> Headers:
    match error:
        case Unauthenticated():
            return ((b"www-authenticate", b"Bearer"),)
        case BodyTooLarge():
            return ((b"connection", b"close"),)
        case UnsupportedEncoding():
            return ((b"accept-encoding", b"identity"),)
        case _:
            wait = getattr(error, "retry_after", None)
            return ((b"retry-after", _seconds(wait)),) if isinstance(wait, timedelta) else ()


def _seconds(wait: timedelta) -> bytes:
    return str(max(1, ceil(wait.total_seconds()))).encode()


def _leaves(kind: type[DomainError]) -> Iterator[type[DomainError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _leaves(narrower)


_KIND_OF_CODE = {leaf.code: leaf for leaf in _leaves(DomainError)}
