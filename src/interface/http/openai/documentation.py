"""What the OpenAPI document says of the routes under `/v1`."""

from dataclasses import dataclass

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)

from llm_backend.domain.files import Purpose
from llm_backend.interface.http.documentation import ALWAYS, RepeatableOperation, also_as, of_bodies
from llm_backend.interface.http.openai_errors import OpenAiErrorOut
from llm_backend.interface.http.streams import EVENT_STREAM

_MEANINGS = {
    400: "What was sent makes no sense, here or to the model",
    401: "The API key or token is missing, invalid or dead",
    403: "The API key is not good for that",
    404: "It does not exist, or belongs to somebody else",
    405: "This path has no such method; `Allow` names those that it has",
    408: "What was sent took too long to arrive",
    409: "It cannot be done now, or the Idempotency-Key stands for another request",
    413: "Larger than the limit",
    415: "The body has a Content-Encoding, or is a document of a type that cannot be read",
    429: "Too much at once; `Retry-After` says when to come back",
    431: "The head of the request is larger than 64 KiB",
    500: "The server has a bug",
    502: "The model's server failed, or rejected the key that it was asked with",
    503: "Something that the server stands on, or the model's server, is away for a while",
    504: "The model did not answer in time",
    507: "There is no room left to store anything",
}
UPSTREAM = (502, 503, 504)  # what asks a model


def openai_failures(*statuses: int) -> dict[int, ResponseSpec]:
    """The errors of a route, besides those that all have: any request can be unwelcome, and any route can crash."""
    return {
        status: ResponseSpec(OpenAiErrorOut, generate_examples=False, description=_MEANINGS[status])
        for status in sorted({*of_bodies(statuses), *ALWAYS, 401, 403, 500, 503})
    }


_TEXT = Schema(type=OpenAPIType.STRING)
_TRUTH = Schema(type=OpenAPIType.BOOLEAN)
_WHOLE_NUMBER = Schema(type=OpenAPIType.INTEGER, minimum=1)
_MODEL = Schema(type=OpenAPIType.STRING, min_length=1, max_length=255)
_MESSAGES = Schema(
    type=OpenAPIType.ARRAY,
    min_items=1,
    items=Schema(type=OpenAPIType.OBJECT, required=["role"], properties={"role": _TEXT}),
    examples=[[{"role": "user", "content": "Hello."}]],
)
_COMPLETION = Schema(
    type=OpenAPIType.OBJECT,
    required=["model", "messages"],
    properties={
        "model": _MODEL,
        "messages": _MESSAGES,
        "stream": _TRUTH,
        "stream_options": Schema(type=OpenAPIType.OBJECT, properties={"include_usage": _TRUTH}),
    },
    description="All other fields go to the model's server as they are",
)
_COUNT = Schema(type=OpenAPIType.INTEGER)
_CHOICES = Schema(
    type=OpenAPIType.ARRAY,
    items=Schema(
        type=OpenAPIType.OBJECT,
        properties={
            "index": _COUNT,
            "message": Schema(
                type=OpenAPIType.OBJECT,
                properties={"role": _TEXT, "content": Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL])},
            ),
            "finish_reason": Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL]),
        },
    ),
)
_COMPLETED = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "id": _TEXT,
        "object": _TEXT,
        "created": _COUNT,
        "model": _TEXT,
        "choices": _CHOICES,
        "usage": Schema(
            type=[OpenAPIType.OBJECT, OpenAPIType.NULL],
            properties={"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
        ),
    },
    description="As the model's server has put it, which may leave fields out and add others",
)
_TOKENS = Schema(type=OpenAPIType.ARRAY, min_items=1, items=Schema(type=OpenAPIType.INTEGER, minimum=0))
_EMBEDDING = Schema(
    type=OpenAPIType.OBJECT,
    required=["model", "input"],
    properties={
        "model": _MODEL,
        "input": Schema(
            one_of=[
                Schema(type=OpenAPIType.STRING, min_length=1),
                Schema(type=OpenAPIType.ARRAY, min_items=1, items=Schema(type=OpenAPIType.STRING, min_length=1)),
                _TOKENS,
                Schema(type=OpenAPIType.ARRAY, min_items=1, items=_TOKENS),
            ]
        ),
        "encoding_format": Schema(type=OpenAPIType.STRING, enum=["float", "base64"]),
        "dimensions": _WHOLE_NUMBER,
    },
)


@dataclass
class CompletionOperation(Operation):
    """An operation whose body goes on to a model's server, so that the handler takes it as it is."""

    def __post_init__(self) -> None:
        self.request_body = _json(_COMPLETION)
        text = "The answer; with `stream`, server-sent events: chunks of it, and `[DONE]` in the end"
        content = {"application/json": OpenAPIMediaType(schema=_COMPLETED)}
        self.responses = {**(self.responses or {}), "200": OpenAPIResponse(description=text, content=content)}
        also_as(self, EVENT_STREAM)


@dataclass
class ReadResponseOperation(Operation):
    """An operation that replies with a response, or with the stream of its events."""

    def __post_init__(self) -> None:
        also_as(self, EVENT_STREAM)


@dataclass
class RespondOperation(RepeatableOperation):
    """The same, for a new one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        also_as(self, EVENT_STREAM)


@dataclass
class EmbeddingOperation(Operation):
    """The same for vectors."""

    def __post_init__(self) -> None:
        self.request_body = _json(_EMBEDDING)


def _json(schema: Schema) -> RequestBody:
    return RequestBody(required=True, content={"application/json": OpenAPIMediaType(schema=schema)})


@dataclass
class FileOperation(RepeatableOperation):
    """An operation whose body is the form of a file, which Litestar cannot see: the handler streams it by itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        form = Schema(
            type=OpenAPIType.OBJECT,
            required=["file", "purpose"],
            properties={
                "file": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY),
                "purpose": Schema(type=OpenAPIType.STRING, enum=[purpose.value for purpose in Purpose]),
                "expires_after[anchor]": Schema(type=OpenAPIType.STRING, enum=["created_at"]),
                "expires_after[seconds]": _WHOLE_NUMBER,
            },
        )
        self.request_body = RequestBody(required=True, content={"multipart/form-data": OpenAPIMediaType(schema=form)})
