"""What requests without a stream cost: a list of fifty conversations, a login."""

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.client import NAME, PASSWORD, Client
from benchmarks.figures import Figure, median, percentile, spread
from benchmarks.processes import Cores, cpu_seconds
from benchmarks.server import Server, Wanted, configure, prepare, serving

LISTED = 50
LISTS, LOGINS = 1000, 30  # in each round
LIST_LIMIT, LOGIN_LIMIT = 900.0, 40.0


def measure(cores: Cores, folder: Path, *, rounds: int) -> list[Figure]:
    config = configure(folder)
    prepare(config, [Wanted(model="gpt-4", count=LISTED)])
    with serving(config, core=cores.measured) as server, Client(server.port) as client:
        client.sign_in()
        lists = [_cost(server, lambda: _list(client), LISTS) for _ in range(rounds)]
        logins = [_cost(server, lambda: _log_in(client), LOGINS) for _ in range(rounds)]
        return [
            _figure(f"CPU per list of {LISTED} conversations", [1e6 * each for each in lists], "µs", LIST_LIMIT),
            _figure("CPU per login", [1e3 * each for each in logins], "ms", LOGIN_LIMIT),
            Figure(name="time for a list, p95", value=1e3 * percentile(_times(client), 0.95), unit="ms"),
        ]


def _list(client: Client) -> None:
    assert len(client.get("/api/conversations/list")) == LISTED


def _log_in(client: Client) -> None:
    client.post("/api/users/login", {"username": NAME, "password": PASSWORD})


def _cost(server: Server, ask: Callable[[], None], times: int) -> float:
    """CPU seconds of the server for one request."""
    ask()
    before = cpu_seconds(server.pid)
    for _ in range(times):
        ask()
    return (cpu_seconds(server.pid) - before) / times


def _times(client: Client) -> list[float]:
    times = []
    for _ in range(LISTS):
        began = time.perf_counter()
        _list(client)
        times.append(time.perf_counter() - began)
    return times


def _figure(name: str, values: list[float], unit: str, limit: float) -> Figure:
    return Figure(name=name, value=median(values), unit=unit, limit=limit, note=spread(values))
