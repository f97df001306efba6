"""A client that reads many streams at a time, each connection starting the next when one has ended.

`python -m benchmarks.load PORT REQUEST_FILE CONNECTIONS SECONDS STREAMS FIRST_TOKEN_MS TOKENS [VARIANTS]`

`REQUEST_FILE` holds the bytes of one request; with `VARIANTS`, connection i sends `REQUEST_FILE.<i mod VARIANTS>`. New
streams start for `SECONDS` or until there have been `STREAMS`. It prints one JSON object; a stream counts as `ok` with
status 200, all its tokens and a proper end. Tokens have four characters, in OpenAI's chunks or in our own events.
"""

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import httptools
import uvloop

from benchmarks.figures import percentile

TOKEN = re.compile(rb'"(?:content|data)": ?"[\w-]{4}"')
LONGEST_TOKEN = 24  # bytes, so that one which two reads share is found
RAMP = 0.5  # seconds over which the first streams start; a thousand at once is no load but an accident
DRAIN = 60.0


class Load:
    """What all connections share."""

    def __init__(self, *, seconds: float, streams: int, first_token: float, tokens: int) -> None:
        self.until = time.perf_counter() + seconds
        self.left = streams
        self.first_token = first_token
        self.tokens = tokens
        self.ok = self.failed = self.seen = self.running = 0
        self.first_tokens: list[float] = []
        self.over = asyncio.Event()

    def take(self) -> bool:
        """Whether one more stream shall start."""
        if self.left <= 0 or time.perf_counter() > self.until:
            return False
        self.left -= 1
        self.running += 1
        return True

    def settle(self, *, ok: bool) -> None:
        self.ok += ok
        self.failed += not ok
        self.running -= 1

    def report(self) -> dict[str, Any]:
        milliseconds = [1000 * (seconds - self.first_token) for seconds in self.first_tokens] or [0.0]
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
        ttft = {name: round(percentile(milliseconds, share), 3) for name, share in shares.items()}
        return {"ok": self.ok, "err": self.failed + self.running, "tok": self.seen, "ttft_ms": ttft}


class Reader(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load, request: bytes) -> None:
        self._load = load
        self._request = request
        self._streaming = False
        self._rest = b""
        self._tokens = 0
        self._heard = False
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are none by inheritance
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._streaming:
            self._end(ok=False)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        body = self._rest + body
        end = 0
        for match in TOKEN.finditer(body):
            end = match.end()
            self._tokens += 1
        self._rest = body[max(end, len(body) - LONGEST_TOKEN) :]
        if self._tokens and not self._heard:
            self._heard = True
            self._load.first_tokens.append(time.perf_counter() - self._began)

    def on_message_complete(self) -> None:
        self._end(ok=self._parser.get_status_code() == 200 and self._tokens >= self._load.tokens)
        asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        if not self._load.take():
            self._transport.close()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._tokens = 0
        self._heard = False
        self._streaming = True
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def _end(self, *, ok: bool) -> None:
        self._streaming = False
        self._load.seen += self._tokens
        self._load.settle(ok=ok)
        if not self._load.running:
            self._load.over.set()


async def run(load: Load, port: int, requests: list[bytes], connections: int) -> None:
    loop = asyncio.get_running_loop()
    for number in range(connections):
        request = requests[number % len(requests)]
        await loop.create_connection(lambda request=request: Reader(load, request), "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.sleep(RAMP / connections)
    while load.running:
        load.over.clear()
        await load.over.wait()


async def main(arguments: list[str]) -> None:
    port, file, connections, seconds, streams, first_token, tokens = arguments[:7]
    variants = int(arguments[7]) if len(arguments) > 7 else 0
    files = [Path(f"{file}.{number}") for number in range(variants)] or [Path(file)]
    load = Load(seconds=float(seconds), streams=int(streams), first_token=int(first_token) / 1000, tokens=int(tokens))
    try:
        async with asyncio.timeout(float(seconds) + DRAIN):
            await run(load, int(port), [each.read_bytes() for each in files], int(connections))
    except TimeoutError:
        pass  # those that are still running are reported as failed
    print(json.dumps(load.report()))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
