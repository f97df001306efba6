"""What a stream costs: CPU beside nginx's, a send as a whole, the wait for the first token, a thousand at once.

All of it on the full path: token checked, conversation loaded, question and answer stored durably. nginx, which does
none of that, is measured right before the server in every round.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Client
from benchmarks.figures import Figure, median, spread
from benchmarks.nginx import Nginx, proxying
from benchmarks.processes import cpu_seconds, resident_mib
from benchmarks.server import Server, Wanted, configure, prepare, serving
from benchmarks.tools import Reading, Tools
from llm_backend.domain.ids import ConversationId

SECONDS = 60.0  # new streams may start for; it is their number that ends a measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """So many streams at a time, each of so many tokens, in conversations that have had some turns."""

    streams: int
    tokens: int
    pause: int  # milliseconds between tokens
    sends: int  # in all, for each round
    quick_sends: int  # the same for those in a hurry
    turns: int = 5
    beside_nginx: float | None = None  # how many times its CPU it may take

    @property
    def model(self) -> str:
        return f"gpt-t{self.tokens}-d{self.pause}-f0"

    @property
    def name(self) -> str:
        return f"{self.streams} × {self.tokens} tokens, {self.pause} ms"


PACED = Scenario(streams=32, tokens=500, pause=10, sends=64, quick_sends=32, beside_nginx=2.4)
BURST = Scenario(streams=32, tokens=500, pause=0, sends=320, quick_sends=128, beside_nginx=2.0)
SEND = Scenario(streams=32, tokens=100, pause=0, sends=320, quick_sends=160)
MANY = Scenario(streams=1000, tokens=100, pause=50, sends=3000, quick_sends=1000, turns=1, beside_nginx=3.0)
FIRST = Scenario(streams=1, tokens=10, pause=5, sends=40, quick_sends=40)
WARMING_UP = Scenario(streams=8, tokens=100, pause=0, sends=64, quick_sends=64, turns=0)
ALL = (PACED, BURST, SEND, MANY, FIRST)

MS_PER_SEND = 3.0
MS_OF_WAITING = 5.0
MIB_AT_MOST = 200.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one scenario: CPU milliseconds, and what the load tool saw."""

    cpu_ms: float
    seen: Reading

    @property
    def per_1000_tokens(self) -> float:
        return 1000 * self.cpu_ms / self.seen.tokens

    @property
    def per_send(self) -> float:
        return self.cpu_ms / self.seen.ok


class Bench:
    """Everything that runs, and the requests that are sent to it."""

    def __init__(
        self, tools: Tools, folder: Path, upstream: int, nginx: Nginx | None, server: Server, *, quick: bool
    ) -> None:
        self._tools = tools
        self._folder = folder
        self._upstream = upstream
        self._nginx = nginx
        self._server = server
        self._quick = quick
        with Client(server.port) as client:
            self._token = client.sign_in()

    def nginx(self, scenario: Scenario) -> Sample | None:
        if self._nginx is None:
            return None
        request = self._asked_upstream(scenario)
        return self._sample(self._nginx.pid, self._nginx.port, scenario, request)

    def server(self, scenario: Scenario, conversations: list[ConversationId]) -> Sample:
        request = self._folder / "ours.request"
        for number, conversation in enumerate(conversations):
            file = self._folder / f"ours.request.{number}"
            file.write_bytes(self._question(conversation))
        return self._sample(self._server.pid, self._server.port, scenario, request, variants=len(conversations))

    def upstream(self, scenario: Scenario) -> Reading:
        """What a client of the model server itself sees."""
        return self._load(self._upstream, scenario, self._asked_upstream(scenario))

    def memory(self) -> float:
        return resident_mib(self._server.pid, "VmHWM")

    def _sample(self, pid: int, port: int, scenario: Scenario, request: Path, variants: int = 0) -> Sample:
        before = cpu_seconds(pid)
        seen = self._load(port, scenario, request, variants)
        return Sample(1000 * (cpu_seconds(pid) - before), seen)

    def _load(self, port: int, scenario: Scenario, request: Path, variants: int = 0) -> Reading:
        return self._tools.load(
            port,
            request,
            connections=scenario.streams,
            seconds=SECONDS,
            streams=scenario.quick_sends if self._quick else scenario.sends,
            tokens=scenario.tokens,
            variants=variants,
        )

    def _asked_upstream(self, scenario: Scenario) -> Path:
        file = self._folder / "upstream.request"
        messages = b'[{"role":"user","content":"What comes next, and why should it?"}]'
        body = b'{"model":"%b","messages":%b,"stream":true}' % (scenario.model.encode(), messages)
        file.write_bytes(_post("/v1/chat/completions", body))
        return file

    def _question(self, conversation: ConversationId) -> bytes:
        body = b'{"message":"What comes next, and why should it?"}'
        return _post(f"/api/chat/{conversation}", body, f"Authorization: Bearer {self._token}\r\n")


def _post(path: str, body: bytes, headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def measure(tools: Tools, folder: Path, *, rounds: int, quick: bool, nginx: str | None) -> list[Figure]:
    with ExitStack() as stack:
        upstream = stack.enter_context(tools.upstream(folder))
        config = configure(folder, upstream)
        lists = iter(prepare(config, [each for scenario in (WARMING_UP, *ALL) for each in _wanted(scenario, rounds)]))
        core = tools.cores.measured
        proxy = stack.enter_context(proxying(nginx, upstream, core=core, folder=folder)) if nginx else None
        bench = Bench(tools, folder, upstream, proxy, stack.enter_context(serving(config, core=core)), quick=quick)
        given = {scenario: [next(lists) for _ in range(rounds)] for scenario in (WARMING_UP, *ALL)}
        _warm_up(bench, given[WARMING_UP][0])
        return list(_figures(bench, given, rounds))


def _wanted(scenario: Scenario, rounds: int) -> list[Wanted]:
    """Each round gets conversations of its own, so that they are as long in the last as in the first."""
    return [Wanted(model=scenario.model, count=scenario.streams, turns=scenario.turns)] * rounds


def _warm_up(bench: Bench, conversations: list[ConversationId]) -> None:
    bench.nginx(WARMING_UP)
    bench.server(WARMING_UP, conversations)


def _figures(bench: Bench, given: dict[Scenario, list[list[ConversationId]]], rounds: int) -> Iterator[Figure]:
    for scenario in (PACED, BURST, SEND):
        yield from _costs(scenario, [_round(bench, scenario, given, number) for number in range(rounds)])
    yield _first_token([_waits(bench, conversations) for conversations in given[FIRST]])
    yield from _costs(MANY, [_round(bench, MANY, given, number) for number in range(rounds)])
    yield Figure(name="most memory that the server took", value=bench.memory(), unit="MiB", limit=MIB_AT_MOST)


def _round(
    bench: Bench, scenario: Scenario, given: dict[Scenario, list[list[ConversationId]]], number: int
) -> tuple[Sample | None, Sample]:
    """nginx right before the server, so that both meet the same weather."""
    return bench.nginx(scenario), bench.server(scenario, given[scenario][number])


def _costs(scenario: Scenario, rounds: list[tuple[Sample | None, Sample]]) -> Iterator[Figure]:
    ours = [sample for _, sample in rounds]
    costs = [sample.per_1000_tokens for sample in ours]
    yield Figure(name=f"{scenario.name}: CPU per 1000 tokens", value=median(costs), unit="ms", note=spread(costs))
    if pairs := [(proxy, sample) for proxy, sample in rounds if proxy]:
        ratios = [sample.per_1000_tokens / proxy.per_1000_tokens for proxy, sample in pairs]
        note = f"{spread(ratios)}; nginx {median(proxy.per_1000_tokens for proxy, _ in pairs):.3g} ms"
        limit = scenario.beside_nginx
        yield Figure(name=f"{scenario.name}: beside nginx", value=median(ratios), unit="×", limit=limit, note=note)
    if scenario is SEND:
        sends = [sample.per_send for sample in ours]
        yield Figure(
            name="CPU per send of 100 tokens", value=median(sends), unit="ms", limit=MS_PER_SEND, note=spread(sends)
        )
    failed = sum(sample.seen.failed for sample in ours)
    sent = failed + sum(sample.seen.ok for sample in ours)
    yield Figure(name=f"{scenario.name}: failed", value=failed, unit="streams", limit=0, note=f"of {sent}")


def _waits(bench: Bench, conversations: list[ConversationId]) -> float:
    directly = bench.upstream(FIRST).first_token_ms
    return bench.server(FIRST, conversations).seen.first_token_ms - directly


def _first_token(waits: list[float]) -> Figure:
    return Figure(
        name="added wait for the first token, p50",
        value=median(waits),
        unit="ms",
        limit=MS_OF_WAITING,
        note=spread(waits),
    )
