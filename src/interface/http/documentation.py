"""The API described by itself: an OpenAPI 3.1 document, and a page that shows it without reaching for the internet."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.params import FromPath
from litestar.response import Redirect

from llm_backend.interface.http.errors import ErrorOut, RouteNotFound
from llm_backend.interface.http.streams import EVENT_STREAM

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
# Nothing inline, nothing from elsewhere: what a document says can never become a script.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

SIGNED_IN = [{"bearer": list[str]()}]  # `security` of a route that asks for a token

_MEANINGS = {
    400: "What was sent makes no sense",
    401: "The token is missing, invalid or dead; or name and password do not match",
    404: "It does not exist, or belongs to somebody else",
    405: "This path has no such method; `Allow` names those that it has",
    408: "What was sent took too long to arrive",
    409: "It cannot be done now, or the Idempotency-Key stands for another request",
    413: "Larger than the limit",
    415: "The body has a Content-Encoding, or is a document of a type that cannot be read",
    429: "Too much at once; `Retry-After` says when to come back",
    431: "The head of the request is larger than 64 KiB",
    500: "The language model or embedding server failed, or the server has a bug; `code` says which",
    503: "Something that the server stands on is away for a while",
    507: "There is no room left to store anything",
}


ALWAYS = {400, 405, 408, 431}  # garbled, with the wrong method, too slow, or with too large a head


def failures(*statuses: int) -> dict[int, ResponseSpec]:
    """The errors of a route. Those of `ALWAYS` any request can have."""
    return {
        status: ResponseSpec(ErrorOut, generate_examples=False, description=_MEANINGS[status])
        for status in sorted({*of_bodies(statuses), *ALWAYS, 500})
    }


def of_bodies(statuses: Collection[int]) -> set[int]:
    """The same, and what else is wrong with bodies where one is read: there, 413 is among them."""
    return {*statuses, 415} if 413 in statuses else set(statuses)


def streams(*, can_be_empty: bool = False) -> dict[int, ResponseSpec]:
    """The success of a route that streams an answer."""
    text = "The events of an answer, in the framing that `Accept` asks for"
    stream = ResponseSpec(str, generate_examples=False, description=text, media_type=EVENT_STREAM)
    empty = ResponseSpec(None, generate_examples=False, description="Nothing is left of the answer")
    return {200: stream, 204: empty} if can_be_empty else {200: stream}


# What the headers that handlers read by themselves mean. Litestar sees only those that it reads for them.
_IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    description="The same key and body again, within 24 hours, give the same result instead of a second one",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255, pattern="^[ -~]+$"),
)
_LAST_EVENT_ID = Parameter(
    name="Last-Event-ID",
    param_in="header",
    description="The `id` of the last event seen, `<answer>.<n>`: go on after it. With a POST only if it is the same "
    "question again",
    schema=Schema(type=OpenAPIType.STRING),
)


@dataclass
class RepeatableOperation(Operation):
    """An operation that heeds `Idempotency-Key`."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), _IDEMPOTENCY_KEY]


@dataclass
class FollowOperation(Operation):
    """An operation that goes on with an answer."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), _LAST_EVENT_ID]


@dataclass
class AskOperation(RepeatableOperation):
    """An operation that begins an answer, or goes on with it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parameters = [*(self.parameters or []), _LAST_EVENT_ID]


@dataclass
class ContentOperation(Operation):
    """An operation that replies with JSON, or with a file as it is."""

    def __post_init__(self) -> None:
        also_as(self, "application/octet-stream", OpenAPIFormat.BINARY)


def also_as(operation: Operation, media_type: str, kind: OpenAPIFormat | None = None) -> None:
    """Its success can come as that, too; Litestar can be told of one media type only."""
    success = (operation.responses or {})["200"]
    if isinstance(success, OpenAPIResponse):
        schema = Schema(type=OpenAPIType.STRING, format=kind)
        success.content = {**(success.content or {}), media_type: OpenAPIMediaType(schema=schema)}


@dataclass
class UploadOperation(RepeatableOperation):
    """An operation whose body is the upload form, which Litestar cannot see: the handler streams it by itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        form = Schema(
            type=OpenAPIType.OBJECT,
            required=["kb_id", "file"],
            properties={
                "kb_id": Schema(type=OpenAPIType.STRING),
                "file": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY),
                "attributes": Schema(
                    type=OpenAPIType.STRING,
                    description="A JSON object of texts, numbers and booleans, for filters to go by",
                ),
                "replace": Schema(
                    type=OpenAPIType.BOOLEAN,
                    description="Whether older documents of the same name give way to this one when it is ready",
                ),
            },
        )
        self.request_body = RequestBody(required=True, content={"multipart/form-data": OpenAPIMediaType(schema=form)})


def openapi_config(version: str) -> OpenAPIConfig:
    """What the document at `/schema/openapi.json` says of the API as a whole."""
    token = SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
    return OpenAPIConfig(
        title="llm-backend-api",
        version=version,
        description="Streamed conversations with language models, and with your own documents.",
        components=Components(security_schemes={"bearer": token}),
        use_handler_docstrings=True,
        path="/schema",
        render_plugins=[JsonRenderPlugin()],
    )


def documentation_routes() -> list[HTTPRouteHandler]:
    """The page at `/docs`; `/` leads there."""
    return [_home, _page, _static_file]


@get("/", include_in_schema=False)
async def _home() -> Redirect:
    return Redirect("/docs")


@get("/docs", include_in_schema=False)
async def _page() -> Response[bytes]:
    return _file("docs.html")


@get("/docs/{name:str}", include_in_schema=False)
async def _static_file(name: FromPath[str]) -> Response[bytes]:
    if name not in {"docs.js", "docs.css"}:
        raise RouteNotFound
    return _file(name)


@cache
def _content(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def _file(name: str) -> Response[bytes]:
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "cache-control": "no-cache"}
    return Response(_content(name), media_type=MEDIA_TYPES[Path(name).suffix], headers=headers)
