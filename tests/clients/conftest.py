"""A live server and, behind it, a model's server that is plausible, each in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import missing
from tests.http.clients import PASSWORD
from tests.live import ServerProcess

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv-clients"
CONFIG = """\
limits: {{registrations_per_address: null, streams_per_user: null}}
llm:
  providers:
    - {{name: demo, kind: demo, models: [demo]}}
    - {{name: upstream, base_url: "{base_url}", models: ["*"], api_key: "sk-of-the-server"}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """The address of the model's server."""
    command = [sys.executable, "-m", "tests.clients.plausible"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture(scope="module")
def server(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server"), CONFIG.format(base_url=upstream)) as server:
        yield server


@pytest.fixture(scope="module")
def environment(server: ServerProcess) -> dict[str, str]:
    """What clients are told: the server, and a key of somebody who has just registered."""
    with httpx.Client(base_url=server.url) as http:
        credentials = {"username": "ada", "password": PASSWORD}
        http.post("/api/users/register", json=credentials).raise_for_status()
        token = http.post("/api/users/login", json=credentials).json()["token"]
        made = http.post("/api/keys", json={"name": "Clients"}, headers={"Authorization": f"Bearer {token}"})
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "")
    told = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": made.raise_for_status().json()["key"]}
    return {**os.environ, **proxies, **told}


@pytest.fixture(scope="session")
def clients() -> Path:
    """The folder that `make install-clients` has made."""
    if not (CLIENTS / ".installed").exists():
        missing("other people's clients are not installed (make install-clients)")
    return CLIENTS
