"""How a server's failures are named here. Its own words never travel further than this module."""

from llm_backend.domain.errors import (
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRateLimited,
    UpstreamRejectedKey,
    UpstreamRejectedRequest,
    UpstreamTimeout,
    UpstreamUnavailable,
)


def failure_of_status(status: int) -> UpstreamFailed:
    """The failure that a reply with any status but a good one means."""
    match status:
        case 401 | 403:
            return UpstreamRejectedKey()
        case 408 | 504:
            return UpstreamTimeout()
        case 429:
            return UpstreamRateLimited()
        case _ if 400 <= status < 500:
            return UpstreamRejectedRequest()
        case _ if 500 <= status < 600:
            return UpstreamUnavailable()
        case _:  # also redirects: following one would carry the key to a server nobody chose
            return UpstreamProtocolError()


def failure_of_error_object(error: object) -> UpstreamFailed:
    """The failure that an `error` inside a reply means, by its numeric `code` or by the names OpenAI gave them."""
    if not isinstance(error, dict):
        return UpstreamUnavailable()
    code, kind = error.get("code"), error.get("type")
    status = _status(code) or _status(error.get("status"))
    if status is not None:
        return failure_of_status(status)
    names = f"{code} {kind}".lower()
    return next((failure() for word, failure in _NAMES.items() if word in names), UpstreamUnavailable())


_NAMES: dict[str, type[UpstreamFailed]] = {
    "rate_limit": UpstreamRateLimited,
    "quota": UpstreamRateLimited,
    "api_key": UpstreamRejectedKey,
    "authentication": UpstreamRejectedKey,
    "permission": UpstreamRejectedKey,
    "invalid_request": UpstreamRejectedRequest,
    "context_length": UpstreamRejectedRequest,
    "not_found": UpstreamRejectedRequest,
}


def _status(code: object) -> int | None:
    text = str(code)
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() and text[0] in "45" else None
