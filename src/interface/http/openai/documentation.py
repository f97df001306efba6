"""What the OpenAPI document says of the routes under `/v1`."""

from litestar.openapi.datastructures import ResponseSpec

from llm_backend.interface.http.openai_errors import OpenAiErrorOut

_MEANINGS = {
    400: "What was sent makes no sense, here or to the model",
    401: "The API key or token is missing, invalid or dead",
    403: "The API key is not good for that",
    404: "It does not exist, or belongs to somebody else",
    405: "This path has no such method; `Allow` names those that it has",
    409: "It cannot be done now, or the Idempotency-Key stands for another request",
    413: "Larger than the limit",
    415: "Documents of this type cannot be read",
    429: "Too much at once; `Retry-After` says when to come back",
    500: "The server has a bug",
    502: "The model's server failed, or rejected the key that it was asked with",
    503: "Something that the server stands on, or the model's server, is away for a while",
    504: "The model did not answer in time",
    507: "There is no room left to store anything",
}
ALWAYS = {400, 401, 403, 405, 500, 503}  # any request can be garbled or unwelcome, and any route can crash
UPSTREAM = (502, 503, 504)  # what asks a model


def openai_failures(*statuses: int) -> dict[int, ResponseSpec]:
    """The errors of a route, besides those that all have."""
    return {
        status: ResponseSpec(OpenAiErrorOut, generate_examples=False, description=_MEANINGS[status])
        for status in sorted({*statuses, *ALWAYS})
    }
