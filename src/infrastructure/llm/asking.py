"""Requests to the server of a provider."""

from datetime import timedelta

import httpx

_AGENT = [(b"Accept-Encoding", b"identity"), (b"User-Agent", b"llm-backend")]


def request_to(
    url: httpx.URL, *, accept: bytes, key: str | None, connect: timedelta, body: bytes | None = None
) -> httpx.Request:
    """POST with a `body` of JSON, GET without. `key` is printable ASCII; `connect` is how long connecting may take.

    httpx is given all that it would find out for each request: `content=body` takes three times as long (19 instead of
    6 µs), and `client.build_request` twelve times.
    """
    headers = [(b"Host", url.netloc), (b"Accept", accept), *_AGENT]
    if key is not None:
        headers.append((b"Authorization", b"Bearer " + key.encode("ascii")))
    if body is not None:
        headers += [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    return httpx.Request(
        "GET" if body is None else "POST",
        url,
        headers=headers,
        stream=httpx.ByteStream(body or b""),
        extensions={"timeout": {"connect": connect.total_seconds()}},
    )
