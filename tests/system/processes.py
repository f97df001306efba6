"""Servers in processes of their own: talking to them, ending them, and starting those that refuse to start."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from httpx import AsyncClient

from tests.forks import completed
from tests.http.clients import NO_CERTIFICATES, Client
from tests.live import ServerProcess
from tests.system.streams import SOON

# Unlimited where many tests come from one address, and impatient where they wait for time to run out.
CONFIG = """\
server: {{keep_alive: 1s, header_timeout: 2s, shutdown_grace: {grace}}}
limits: {{registrations_per_address: null, login_failures: null, streams_per_user: null, upload: 2MiB}}
llm:
  providers:
    - {{name: demo, kind: demo, models: [demo]}}
    - {{name: covered, base_url: "{base_url}", models: [covered], api_key: "sk-of-the-server", fallbacks: [spare]}}
    - {{name: upstream, base_url: "{base_url}", models: ["*"], api_key: "sk-of-the-server"}}
  timeouts: {{connect: 3s, first_token: 3s, idle: 4s, total: 2m}}
  longest_line: 64KiB
  longest_answer: 256KiB
  retries: 0
"""


def configuration(base_url: str, *, grace: str = "30s") -> str:
    """With the provider at that URL for every model but `demo`; when `covered` fails, `spare` goes on."""
    return CONFIG.format(base_url=base_url, grace=grace)


class NewServer(Protocol):
    """Makes servers on the test's own folder, not started yet. Killed in the end, if they still live."""

    def __call__(self, config: str = "", *, environment: Mapping[str, str] | None = None) -> ServerProcess: ...


@asynccontextmanager
async def connected(server: ServerProcess) -> AsyncIterator[Client]:
    """Somebody who has not logged in."""
    async with AsyncClient(base_url=server.url, timeout=SOON, verify=NO_CERTIFICATES) as http:
        yield Client(http)


async def terminated(server: ServerProcess, how: int = signal.SIGTERM) -> int:
    """The exit status, once it has ended; meanwhile the loop goes on, and with it the provider."""
    return await asyncio.to_thread(server.terminate, how)


async def killed(server: ServerProcess) -> None:
    await asyncio.to_thread(server.kill)


async def started(server: ServerProcess) -> ServerProcess:
    return await asyncio.to_thread(server.start)


def failed_start(folder: Path, config: str, *, port: str = "0") -> "subprocess.CompletedProcess[str]":
    """A start that ends by itself, with what it wrote and its exit status."""
    file = folder / "config.yaml"
    file.write_text(config)
    return completed("serve", "--config", str(file), "--port", port, cwd=folder)
