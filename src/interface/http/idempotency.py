"""The `Idempotency-Key` header."""

from hashlib import sha256

import msgspec
from litestar.types import Scope

from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.interface.http.requests import header

_encode = msgspec.json.Encoder(order="sorted").encode


def key_text(scope: Scope) -> str | None:
    return header(scope, b"idempotency-key")


def idempotency(scope: Scope, content: object) -> IdempotencyKey | None:
    """The key of this request, if it has one, with a fingerprint of the route and of what was understood of the
    body. Raises `InvalidIdempotencyKey`."""
    text = key_text(scope)
    if text is None:
        return None
    route = f"{scope['path'].rstrip('/')}\n".encode()
    return IdempotencyKey(key=text, fingerprint=sha256(route + _encode(content)).hexdigest())
