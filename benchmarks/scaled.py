"""What replicas cost: the same streams over PostgreSQL and Redis, beside the embedded server.

CPU of the server alone: PostgreSQL and Redis run elsewhere, and what they take is theirs. The embedded server is
measured right before the other in every round.
"""

from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Figure, median, spread
from benchmarks.server import Wanted, configure, prepare, serving
from benchmarks.streaming import BURST, PACED, SEND, WARMING_UP, Bench, Scenario
from benchmarks.tools import Tools
from tests.servers import PostgresCluster, RedisServer

SCENARIOS = (PACED, BURST, SEND)
TIMES_EMBEDDED = 1.3


def measure(tools: Tools, folder: Path, *, rounds: int, quick: bool) -> list[Figure]:
    with ExitStack() as stack:
        upstream = stack.enter_context(tools.upstream(folder))
        postgres, redis = stack.enter_context(PostgresCluster()), stack.enter_context(RedisServer())
        others = f'database: {{url: "{postgres.url()}"}}\nredis: {{address: "{redis.address}"}}\n'
        servers = [
            _Server(stack, tools, folder / name, upstream, more, rounds, quick=quick)
            for name, more in (("embedded", ""), ("scaled", others))
        ]
        for server in servers:
            server.cost(WARMING_UP, 0)
        return [_compared(scenario, servers, rounds) for scenario in SCENARIOS]


class _Server:
    """One of the two, and the conversations that are there for it."""

    def __init__(
        self, stack: ExitStack, tools: Tools, folder: Path, upstream: int, more: str, rounds: int, *, quick: bool
    ) -> None:
        folder.mkdir()
        config = configure(folder, upstream, more)
        wanted = {scenario: _wanted(scenario, rounds) for scenario in (WARMING_UP, *SCENARIOS)}
        lists = iter(prepare(config, [each for several in wanted.values() for each in several]))
        self._conversations = {scenario: [next(lists) for _ in several] for scenario, several in wanted.items()}
        server = stack.enter_context(serving(config, core=tools.cores.measured))
        self._bench = Bench(tools, folder, upstream, None, server, quick=quick)

    def cost(self, scenario: Scenario, number: int) -> float:
        """CPU milliseconds for 1000 tokens. Raises `RuntimeError` when a stream failed."""
        sample = self._bench.server(scenario, self._conversations[scenario][number])
        if sample.seen.failed:
            raise RuntimeError(f"{sample.seen.failed} streams failed: {scenario.name}")
        return sample.per_1000_tokens


def _wanted(scenario: Scenario, rounds: int) -> list[Wanted]:
    one = Wanted(model=scenario.model, count=scenario.streams, turns=scenario.turns)
    return [one] * (1 if scenario is WARMING_UP else rounds)


def _compared(scenario: Scenario, servers: list[_Server], rounds: int) -> Figure:
    embedded, scaled = servers
    pairs = [(embedded.cost(scenario, number), scaled.cost(scenario, number)) for number in range(rounds)]
    costs = ", ".join(f"{median(each):.3g}" for each in zip(*pairs, strict=True))
    return Figure(
        name=f"{scenario.name}: CPU on PostgreSQL and Redis, beside embedded",
        value=median(mine / its for its, mine in pairs),
        unit="×",
        limit=None if scenario is SEND else TIMES_EMBEDDED,  # of a short answer nearly all is SQL
        note=f"{spread(mine / its for its, mine in pairs)}; {costs} ms for 1000 tokens",
    )
