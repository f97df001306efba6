"""The real server on real sockets of the loopback interface: in this process, or in one of its own.

What is about streams, hang-ups and shutdown is tested here; clients that speak ASGI directly see a body only when it
is complete.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, ClassVar, Protocol, Self

from litestar.types import ASGIApp

from llm_backend.interface.http.server import HttpServer, ServerOptions
from tests.forks import Fork

START_TIMEOUT = 60.0  # seconds; machines under load start slowly
STOP_TIMEOUT = 60.0


async def _nothing() -> None:
    """There is nothing to drain."""


@asynccontextmanager
async def serving(
    app: ASGIApp, options: ServerOptions | None = None, *, drain: Callable[[], Awaitable[object]] = _nothing
) -> AsyncIterator[HttpServer]:
    """Serve an application in this process, on a free port; `server.url` says which. Stopped in the end."""
    listening = asyncio.Event()
    server = HttpServer(
        app,
        options or ServerOptions(port=0),
        drain=drain,
        listening=lambda _: listening.set(),
        heed_signals=False,
    )
    running = asyncio.create_task(server.serve_until_stopped())
    try:
        async with asyncio.timeout(START_TIMEOUT):
            await listening.wait()
        yield server
    finally:
        server.stop()
        async with asyncio.timeout(STOP_TIMEOUT):
            await running


class Running(Protocol):
    """A process, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...

    @property
    def stdout(self) -> IO[str] | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, number: int, /) -> None: ...

    def kill(self) -> None: ...


class ServerProcess:
    """`llm-backend serve` (or what `command` says) in a process of its own, on a free port, with its data in `folder`.

    `config` is the text of its configuration; `environment` goes over that of the tests. Can be started again after
    `kill` or `terminate`, on the same data. What it wrote so far is in `output`.
    """

    command: ClassVar[Sequence[str]] = ("serve", "--port", "0")
    ready: ClassVar[str] = r"https?://[\w.\[\]:]+:\d+"  # what is read when it has started

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.url = ""
        self._lines: list[str] = []
        self._config = folder / "config.yaml"
        self._config.write_text(config)
        self._arguments = arguments
        self.environment = {**os.environ, "LLM_BACKEND__DATA_FOLDER": str(folder / "data"), **(environment or {})}
        self._process: Running | None = None
        self._reader: threading.Thread | None = None

    @property
    def process(self) -> Running:
        assert self._process is not None, "not started"
        return self._process

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def start(self) -> Self:
        """Returns when it listens."""
        self._process = self._begun(*self.command, "--config", str(self._config), *self._arguments)
        found = threading.Event()
        self.url = ""
        self._reader = threading.Thread(target=self._read, args=(self._process, found), daemon=True)
        self._reader.start()
        assert found.wait(START_TIMEOUT), f"did not start:\n{self.output}"
        assert self.url, f"ended at the start:\n{self.output}"
        return self

    def terminate(self, how: int = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit status once it has."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(STOP_TIMEOUT)
        if self._reader:
            self._reader.join(STOP_TIMEOUT)
        return status

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.poll() is None:
            self.kill()

    def _begun(self, *arguments: str) -> Running:
        return Fork(arguments, cwd=self.folder, env=self.environment)

    def _read(self, process: Running, found: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._lines.append(line)
                if not self.url and (url := re.search(self.ready, line)):
                    self.url = url[0]
                    found.set()
        found.set()


class FreshServerProcess(ServerProcess):
    """Begun as operators begin it, by a Python that has imported nothing yet."""

    def _begun(self, *arguments: str) -> Running:
        return subprocess.Popen(
            [sys.executable, "-m", "llm_backend", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


class WorkerProcess(ServerProcess):
    """`llm-backend worker` in a process of its own; it has no `url`."""

    command = ("worker",)
    ready = "works: .* at a time"
