"""What it costs to pass on chat completions: CPU beside nginx's for streams, and added time for answers in one piece.

Each request comes with an API key, which is looked up in the database, and leaves a record of its tokens there.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.client import TIMEOUT, Client
from benchmarks.figures import Figure, median, percentile, spread
from benchmarks.nginx import Nginx, proxying
from benchmarks.processes import cpu_seconds
from benchmarks.server import Server, configure, prepare, serving
from benchmarks.streaming import SECONDS, Sample
from benchmarks.tools import Tools

PATH = "/v1/chat/completions"
STREAMS, TOKENS = 32, 100
ASKED = 300  # times, for an answer in one piece
MS_OF_WAITING = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Milliseconds between tokens, and how many times nginx's CPU may be spent on them."""

    pause: int
    sends: int
    quick_sends: int
    beside_nginx: float

    @property
    def model(self) -> str:
        return f"gpt-t{TOKENS}-d{self.pause}-f0"

    @property
    def name(self) -> str:
        return f"{STREAMS} × {TOKENS} tokens, {self.pause} ms"


PACED = Pace(pause=10, sends=320, quick_sends=160, beside_nginx=2.4)
BURST = Pace(pause=0, sends=1600, quick_sends=640, beside_nginx=2.0)


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that runs."""

    tools: Tools
    folder: Path
    upstream: int
    nginx: Nginx | None
    server: Server
    key: str
    quick: bool

    def pair(self, pace: Pace) -> tuple[Sample | None, Sample]:
        """nginx right before the server, so that both meet the same weather."""
        proxied = self._sample(self.nginx.pid, self.nginx.port, pace) if self.nginx else None
        return proxied, self._sample(self.server.pid, self.server.port, pace)

    def added_ms(self) -> float:
        """By how much the median of answers in one piece is later than without a server in between."""
        body = _body("gpt-t10-d0-f0", stream=False)
        return 1000 * (self._median(self.server.port, body) - self._median(self.upstream, body))

    def _sample(self, pid: int, port: int, pace: Pace) -> Sample:
        file = self.folder / "passed-on.request"
        file.write_bytes(self._request(_body(pace.model, stream=True)))
        before = cpu_seconds(pid)
        seen = self.tools.load(
            port,
            file,
            connections=STREAMS,
            seconds=SECONDS,
            streams=pace.quick_sends if self.quick else pace.sends,
            tokens=TOKENS,
        )
        return Sample(1000 * (cpu_seconds(pid) - before), seen)

    def _request(self, body: bytes) -> bytes:
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.key}\r\n"
        return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def _median(self, port: int, body: bytes) -> float:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        times = []
        for _ in range(ASKED):
            began = time.perf_counter()
            connection.request("POST", PATH, body, headers)
            reply = connection.getresponse()
            content = reply.read()
            times.append(time.perf_counter() - began)
            if reply.status != 200:
                raise RuntimeError(f"{reply.status} {content[:200]!r}")
        connection.close()
        return percentile(times, 0.5)


def _body(model: str, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": "What comes next, and why should it?"}]
    return json.dumps({"model": model, "messages": messages, "stream": stream}).encode()


def measure(tools: Tools, folder: Path, *, rounds: int, quick: bool, nginx: str | None) -> list[Figure]:
    with ExitStack() as stack:
        upstream = stack.enter_context(tools.upstream(folder))
        config = configure(folder, upstream)
        prepare(config)
        core = tools.cores.measured
        proxy = stack.enter_context(proxying(nginx, upstream, core=core, folder=folder)) if nginx else None
        server = stack.enter_context(serving(config, core=core))
        with Client(server.port) as client:
            client.sign_in()
            key = client.post("/api/keys", {"name": "measured"})["key"]
        bench = Bench(tools, folder, upstream, proxy, server, key, quick)
        bench.pair(BURST)  # to warm up
        return list(_figures(bench, rounds))


def _figures(bench: Bench, rounds: int) -> Iterator[Figure]:
    for pace in (PACED, BURST):
        yield from _costs(pace, [bench.pair(pace) for _ in range(rounds)])
    waits = [bench.added_ms() for _ in range(rounds)]
    name = "added wait for an answer in one piece, p50"
    yield Figure(name=name, value=median(waits), unit="ms", limit=MS_OF_WAITING, note=spread(waits))


def _costs(pace: Pace, rounds: list[tuple[Sample | None, Sample]]) -> Iterator[Figure]:
    costs = [sample.per_1000_tokens for _, sample in rounds]
    name = f"{pace.name}, passed on: "
    yield Figure(name=name + "CPU per 1000 tokens", value=median(costs), unit="ms", note=spread(costs))
    if pairs := [(proxy, sample) for proxy, sample in rounds if proxy]:
        ratios = [sample.per_1000_tokens / proxy.per_1000_tokens for proxy, sample in pairs]
        note = f"{spread(ratios)}; nginx {median(proxy.per_1000_tokens for proxy, _ in pairs):.3g} ms"
        yield Figure(name=name + "beside nginx", value=median(ratios), unit="×", limit=pace.beside_nginx, note=note)
    failed = sum(sample.seen.failed for _, sample in rounds)
    sent = failed + sum(sample.seen.ok for _, sample in rounds)
    yield Figure(name=name + "failed", value=failed, unit="streams", limit=0, note=f"of {sent}")
