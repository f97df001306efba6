"""What browsers are told about pages of other origins.

Litestar decides who is let in. What it would write replaces `Vary`, goes into the list of headers that a response
keeps for the next one, and refuses in plain text.
"""

from litestar.config.cors import CORSConfig
from litestar.types import Receive, Scope, Send

from llm_backend.domain.errors import Invalid
from llm_backend.interface.http.errors import Headers, reply_to
from llm_backend.interface.http.requests import header

METHODS = ["GET", "HEAD", "POST", "DELETE"]
REQUEST_HEADERS = ["authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id"]
REPLY_HEADERS = "retry-after, x-request-id"
FOR_SECONDS = b"600"  # a browser need not ask again
ALWAYS_ALLOWED = {"accept", "accept-language", "content-language"}
OF_SDKS = ("x-stainless-", "openai-")  # OpenAI's clients tell of themselves in a dozen headers, which nobody reads here


class OriginRefused(Invalid):
    code = "cors_refused"
    default_message = "Pages of this origin must not send this request"


class OtherOrigins:
    """The origins that are let in: written out, with `*` for any part of one. None at all unless given."""

    def __init__(self, *origins: str) -> None:
        self._config = CORSConfig(allow_origins=list(origins))
        self._any = self._config.is_allow_all_origins

    def headers(self, scope: Scope) -> Headers:
        """What every reply to this request says. Caches have to know of the origin even when there was none."""
        vary: Headers = () if self._any else ((b"vary", b"Origin"),)
        origin = header(scope, b"origin")
        if not origin or not self._config.is_origin_allowed(origin):
            return vary
        allowed = b"*" if self._any else origin.encode("latin-1")
        exposed = (b"access-control-expose-headers", REPLY_HEADERS.encode())
        return (*vary, (b"access-control-allow-origin", allowed), exposed)

    def is_preflight(self, scope: Scope) -> bool:
        """Whether a browser asks if it may ask."""
        return bool(
            scope.get("method") == "OPTIONS"
            and header(scope, b"origin")
            and header(scope, b"access-control-request-method")
        )

    async def answer_preflight(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._allows(scope):
            await reply_to(OriginRefused(), scope)(scope, receive, send)
            return
        of_sdks = sorted(name for name in _asked_headers(scope) if name.startswith(OF_SDKS))
        headers = [
            (b"access-control-allow-methods", ", ".join(METHODS).encode()),
            (b"access-control-allow-headers", ", ".join([*REQUEST_HEADERS, *of_sdks]).encode("latin-1")),
            (b"access-control-max-age", FOR_SECONDS),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _allows(self, scope: Scope) -> bool:
        known = _asked_headers(scope) - {"", *REQUEST_HEADERS} - ALWAYS_ALLOWED
        unknown = {name for name in known if not name.startswith(OF_SDKS)}
        return (
            self._config.is_origin_allowed(header(scope, b"origin") or "")
            and header(scope, b"access-control-request-method") in METHODS
            and not unknown
        )


def _asked_headers(scope: Scope) -> set[str]:
    names = (header(scope, b"access-control-request-headers") or "").lower().split(",")
    return {name.strip() for name in names}
