"""An OpenAI-compatible server that answers by the clock: `python -m benchmarks.upstream PORT`.

The model's name says what it does: `gpt-t100-d10-f0` writes 100 tokens, 10 ms apart, the first after 0 ms. Each token
is a write of its own, also without a pause, and all streams take turns.
"""

import asyncio
import heapq
import re
import sys
from dataclasses import dataclass, field

import uvloop

BEHAVIOUR = re.compile(rb'"model":\s*"([^"]*?-t(\d+)-d(\d+)-f(\d+))"')
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
EVENT = (
    b'data: {"id":"chatcmpl-0123456789abcdefghijklmnop","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"%b","system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{%b},"logprobs":null,'
    b'"finish_reason":%b}]}\n\n'
)
WHOLE = (
    b'{"id":"chatcmpl-0123456789abcdefghijklmnop","object":"chat.completion","created":1700000000,"model":"%b",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}],"usage":%b}'
)
STREAMED = b'"stream":true'


@dataclass(order=True, slots=True)
class Stream:
    """What is left to write on one connection, and when the next of it is due."""

    due: float
    pause: float = field(compare=False)
    left: int = field(compare=False)
    token: bytes = field(compare=False)
    last: bytes = field(compare=False)
    connection: "Connection" = field(compare=False)

    def write(self) -> bool:
        """Write what is due; whether there is more to come."""
        self.left -= 1
        self.connection.write(self.token + (b"" if self.left else self.last))
        self.due += self.pause
        return self.left > 0 and self.connection.open


class Schedule:
    """All streams, with one timer for the next that is due: a timer for each would cost more than the writing."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._streams: list[Stream] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, stream: Stream) -> None:
        heapq.heappush(self._streams, stream)
        self._wait()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._streams:
            self._timer = self._loop.call_at(self._streams[0].due, self._write_due)

    def _write_due(self) -> None:
        now = self._loop.time()
        due: list[Stream] = []
        while self._streams and self._streams[0].due <= now:
            due.append(heapq.heappop(self._streams))
        for stream in due:
            if stream.write():
                heapq.heappush(self._streams, stream)
        self._wait()


class Connection(asyncio.Protocol):
    """Reads requests one after the other and gives each to the schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._received = b""
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are none by inheritance
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.open = False

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not blank or len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        behaviour = BEHAVIOUR.search(body)
        if behaviour and STREAMED not in body.replace(b" ", b""):
            self.write(_whole(behaviour[1], int(behaviour[2])))
        elif behaviour:
            self._answer(behaviour, with_usage=b"include_usage" in body)
        else:
            self.write(b"", head=b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    def write(self, chunk: bytes, *, head: bytes = b"") -> None:
        if self.open:
            self._transport.write(head + chunk)

    def _answer(self, behaviour: re.Match[bytes], *, with_usage: bool) -> None:
        model, tokens, pause, first = behaviour.groups()
        self.write(_chunk(EVENT % (model, b'"role":"assistant","content":""', b"null")), head=HEAD)
        self._schedule.add(
            Stream(
                due=asyncio.get_running_loop().time() + int(first) / 1000,
                pause=int(pause) / 1000,
                left=int(tokens),
                token=_chunk(EVENT % (model, b'"content":"word"', b"null")),
                last=_ending(model, int(tokens), with_usage=with_usage),
                connection=self,
            )
        )


def _ending(model: bytes, tokens: int, *, with_usage: bool) -> bytes:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":%d}}\n\n' % tokens
    ending = _chunk(EVENT % (model, b"", b'"stop"')) + (_chunk(usage) if with_usage else b"")
    return ending + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _whole(model: bytes, tokens: int) -> bytes:
    """The same answer in one piece, at once."""
    usage = b'{"prompt_tokens":10,"completion_tokens":%d,"total_tokens":%d}' % (tokens, 10 + tokens)
    body = WHOLE % (model, b"word" * tokens, usage)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def serve(port: int) -> None:
    schedule = Schedule()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(schedule), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
