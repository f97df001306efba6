"""Errors under `/v1`: one object with four keys, and statuses by which OpenAI's clients decide whether to try again."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from litestar.utils import normalize_path

from llm_backend.domain.errors import (
    DomainError,
    Unauthenticated,
    UnknownModel,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRejectedRequest,
    UpstreamTimeout,
    UpstreamUnavailable,
)

ROOT = "/v1"

# Where the statuses differ from those of `/api`. A provider's 401 would look like one of ours, and a client that reads
# 429 or 500 sends the same once more: what the provider has refused, it will refuse again.
STATUSES: Mapping[type[DomainError], int] = {
    UnknownModel: 404,
    UpstreamRejectedRequest: 400,
    UpstreamTimeout: 504,
    UpstreamUnavailable: 503,
    UpstreamRateLimited: 503,
    UpstreamFailed: 502,
}
CODES = {Unauthenticated.code: "invalid_api_key", UnknownModel.code: "model_not_found"}

ErrorType = Literal[
    "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "rate_limit_error",
    "server_error",
]  # fmt: skip
_TYPES: Mapping[int, ErrorType] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ErrorObject(msgspec.Struct):
    """What went wrong: a text for a person, and for a program a kind, the parameter that is to blame and a code."""

    message: str
    type: ErrorType
    param: str | None
    code: str | None


class OpenAiErrorOut(msgspec.Struct):
    error: ErrorObject


def is_openai(path: str) -> bool:
    """Whether a request is for this family of routes, also if there is no such route. Slashes count for one, as they
    do when a route is looked for."""
    normal = normalize_path(path)
    return normal == ROOT or normal.startswith(f"{ROOT}/")


def openai_error(status: int, code: str, message: str, param: str | None = None) -> OpenAiErrorOut:
    """The same error as `/api` has by that code. Codes that clients know under another name get that."""
    return OpenAiErrorOut(ErrorObject(message, error_type(status), param, CODES.get(code, code)))


def error_type(status: int) -> ErrorType:
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
