"""Real servers for tests, started from what is installed, on free ports of the loopback interface.

A test is skipped when the program is missing, and fails instead where `LLM_BACKEND_REQUIRE_ALL` is set.
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.conftest import require_binary

START_TIMEOUT = 60.0  # seconds; machines under load start slowly
SUPERUSER = "postgres"


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class RedisServer:
    """A Redis that keeps nothing on disk. It can be stopped, paused and started again on the same port."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._command = [require_binary("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += ["--save", "", "--appendonly", "no", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
        _wait_until(self._answers, self._process, "redis-server")

    def stop(self) -> None:
        """Kill it: its clients hear nothing of that before their next command."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it accept connections and never answer, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            # With a password it says NOAUTH, which is an answer too.
            return connection.recv(1) in {b"+", b"-"}


class S3Server:
    """An object store that keeps everything in memory, with one bucket. It can be stopped, paused and started again."""

    bucket = "passages"

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def storage_options(self) -> dict[str, str]:
        """As LanceDB wants them. It must not wait for what never comes: the machine is the same."""
        credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "aws_region": "us-east-1"}
        return {**credentials, "aws_endpoint": self.endpoint, "allow_http": "true"}

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_until(self._answers, self._process, "moto")
        self.make_bucket()

    def make_bucket(self) -> None:
        self._request("PUT", f"/{self.bucket}")

    def lose_everything(self) -> None:
        """As if it had been given new disks; the bucket is gone as well."""
        self._request("POST", "/moto-api/reset")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it accept connections and never answer, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        self._request("GET", "/moto-api/data.json")
        return True

    def _request(self, method: str, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path)
            status = connection.getresponse().status
        finally:
            connection.close()
        assert status == 200, f"{method} {path} answered {status}"


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL, `postgresql://…`, of an empty database in a cluster of its own.

    PostgreSQL refuses to run as root; then it is run as the user `postgres`.
    """
    binaries = Path(require_binary("initdb")).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="llm-backend-postgres-"))
    user = _unprivileged_user(folder)
    port = free_port()
    try:
        data = str(folder / "data")
        options = ["--auth=trust", f"--username={SUPERUSER}", "--encoding=UTF8", "--no-locale", "--no-sync"]
        _run([str(binaries / "initdb"), "--pgdata", data, *options], user)
        arguments = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
        with _postgres([str(binaries / "postgres"), *arguments], user, [str(binaries / "pg_isready"), "-p", str(port)]):
            yield f"postgresql://{SUPERUSER}@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _postgres(command: Sequence[str], user: str | None, is_ready: Sequence[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/")
    try:
        answers = [*is_ready, "-h", "127.0.0.1", "-q"]
        _wait_until(lambda: subprocess.run(answers, check=False).returncode == 0, process, "postgres")
        yield
    finally:
        process.send_signal(signal.SIGQUIT)  # at once, without saving
        process.wait(START_TIMEOUT)


def _unprivileged_user(folder: Path) -> str | None:
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, SUPERUSER)
    return SUPERUSER


def _run(command: Sequence[str], user: str | None) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")


def _wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes], name: str) -> None:
    """Look again and again: neither server tells anybody when it is ready."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{name} ended with {process.returncode}"
        try:
            if answers():
                return
        except OSError:
            pass
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"{name} did not start within {START_TIMEOUT} s")
