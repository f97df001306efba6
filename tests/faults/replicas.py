"""Several servers on one PostgreSQL, one data folder and perhaps one Redis, and the provider that all of them ask."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from httpx import AsyncClient

from tests.http.clients import NO_CERTIFICATES, Client
from tests.live import ServerProcess
from tests.servers import RedisServer, free_port
from tests.system.processes import configuration

UPSTREAM = Path(__file__).parents[1] / "upstream.py"
SOON = 60.0  # seconds; machines under load are slow


class UpstreamProcess(AbstractContextManager["UpstreamProcess"]):
    """`tests/upstream.py` in a process of its own, where many answers do not stand in the way of their readers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        command = [sys.executable, str(UPSTREAM), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert "listening" in self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


class Replicas:
    """`async with` it: `count` servers, started, each on the same port ever. Killed in the end, if they still live."""

    def __init__(
        self,
        folder: Path,
        upstream: str,
        database: str,
        redis: RedisServer | str | None = None,
        *,
        count: int = 2,
        kind: type[ServerProcess] = ServerProcess,
        grace: str = "30s",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        variables = {
            "LLM_BACKEND__DATABASE__URL": database,
            "LLM_BACKEND__LOG__LEVEL": "warning",
            **(environment or {}),
        }
        if redis is not None:
            variables["LLM_BACKEND__REDIS__ADDRESS"] = redis if isinstance(redis, str) else redis.address
        config = configuration(upstream, grace=grace)
        self.servers = [
            kind(folder, config, arguments=["--port", str(free_port())], environment=variables) for _ in range(count)
        ]
        self.urls: list[str] = []
        self._stack = ExitStack()  # of those that have started

    async def __aenter__(self) -> Self:
        with ExitStack() as starting:
            for server in self.servers:
                starting.callback(server.__exit__)
                await asyncio.to_thread(server.start)
                self.urls.append(server.url)
            self._stack = starting.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._stack.close)

    def client(self, number: int = 0) -> AsyncClient:
        return AsyncClient(base_url=self.urls[number], timeout=SOON, verify=NO_CERTIFICATES)


async def conversations(client: Client, count: int, model: str) -> list[int]:
    """So many new ones, some at a time."""
    turn = asyncio.Semaphore(16)

    async def one() -> int:
        async with turn:
            return await client.new_conversation(model=model)

    return await asyncio.gather(*[one() for _ in range(count)])


async def until(holds: Callable[[], bool], *, within: float = SOON) -> None:
    """Look again and again: what happens in other processes tells nobody. Raises `TimeoutError`."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)
