"""Who is asking under `/v1`: an API key, or a token of a login."""

from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import AsyncAnyCallable

from llm_backend.application.api_keys import Authorize
from llm_backend.domain.api_keys import Scope
from llm_backend.interface.http.auth import bearer
from llm_backend.interface.http.requests import header

_WANTED = "scope"
_CHANGES = "changes"


def good_for(scope: Scope, *, changes: bool | None = None) -> Mapping[str, Any]:
    """`opt` of routes that ask for a key with that scope. Whether one `changes` anything goes by its method."""
    return {_WANTED: scope, _CHANGES: changes}


def require_access(authorize: Authorize) -> AsyncAnyCallable:
    """A guard that leaves the `Access` in the scope, and lets in whom the key lets in."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        method = connection.scope.get("method", "GET")
        if method == "OPTIONS":
            return
        access = await authorize(bearer(header(connection.scope, b"authorization")))
        changes = handler.opt.get(_CHANGES)
        access.check(handler.opt.get(_WANTED), changes=method not in {"GET", "HEAD"} if changes is None else changes)
        connection.scope["auth"] = access

    return guard
