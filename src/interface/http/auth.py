"""Who is asking: the guard in front of every route that is not public."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import AsyncAnyCallable

from llm_backend.application.users import Authenticate
from llm_backend.domain.errors import Unauthenticated
from llm_backend.interface.http.requests import header

PUBLIC = {"public": True}  # `opt` of a route that asks for no token


def require_session(authenticate: Authenticate) -> AsyncAnyCallable:
    """A guard that leaves the `Session` in the scope. Guards run before the body is read: 401 goes before 400."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if "public" not in handler.opt and connection.scope.get("method") != "OPTIONS":
            token = bearer(header(connection.scope, b"authorization"))
            connection.scope["auth"] = await authenticate(token)

    return guard


def bearer(authorization: str | None) -> str:
    """What an `Authorization` header carries. Raises `Unauthenticated`."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return token.strip()
