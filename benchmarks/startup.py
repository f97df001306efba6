"""What it takes until the server answers, and what it holds while it has nothing to do."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.figures import Figure, median, spread
from benchmarks.processes import Cores, cpu_seconds, resident_mib, wait_until
from benchmarks.server import Server, configure, log_of, started

CPU_LIMIT, MEMORY_LIMIT = 3.5, 150.0
SETTLING = 3.0  # seconds, for what a server does after its first answer


class Start(NamedTuple):
    """CPU and wall seconds to the first 200, and MiB afterwards."""

    cpu: float
    wall: float
    memory: float


def measure(cores: Cores, folder: Path, *, rounds: int) -> list[Figure]:
    first, later = [], []
    for _ in range(rounds):
        with TemporaryDirectory(dir=folder) as place:
            config = configure(Path(place))
            first.append(_start(config, cores.measured))  # makes keys and the database
            later.append(_start(config, cores.measured))
    return [
        _figure("CPU to the first 200, new folder", [each.cpu for each in first], "s", CPU_LIMIT),
        _figure("CPU to the first 200, later starts", [each.cpu for each in later], "s", CPU_LIMIT),
        _figure("time to the first 200, later starts", [each.wall for each in later], "s"),
        _figure("memory when idle, new folder", [each.memory for each in first], "MiB", MEMORY_LIMIT),
        _figure("memory when idle, later starts", [each.memory for each in later], "MiB", MEMORY_LIMIT),
    ]


def _start(config: Path, core: int) -> Start:
    began = time.perf_counter()
    with started(config, core=core) as server:
        wait_until(lambda: _is_healthy(server), server.pid, log_of(config))
        cpu, wall = cpu_seconds(server.pid), time.perf_counter() - began
        time.sleep(SETTLING)
        return Start(cpu, wall, resident_mib(server.pid))


def _is_healthy(server: Server) -> bool:
    with _connection(server.port) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


@contextmanager
def _connection(port: int) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def _figure(name: str, values: list[float], unit: str, limit: float | None = None) -> Figure:
    return Figure(name=name, value=median(values), unit=unit, limit=limit, note=spread(values))
