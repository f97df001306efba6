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
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from tests.conftest import require_binary

START_TIMEOUT = 60.0  # seconds; machines under load start slowly
SUPERUSER = "postgres"
POSTGRES_FOLDERS = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))  # where Debian keeps them, off the PATH
LIKE_PEOPLE = ["--locale-provider=icu", "--icu-locale=en-US", "--locale=C"]
INITDB_OPTIONS = ["--auth=trust", f"--username={SUPERUSER}", "--encoding=UTF8", "--no-sync"]
_CLUSTER = ("--cluster-node-timeout", "2000", "--cluster-config-file")
POSTGRES_OPTIONS = ["-c", "full_page_writes=off", "-c", "autovacuum=off", "-c", "max_connections=200"]


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

    def clear(self) -> None:
        self.say("FLUSHALL")

    def say(self, command: str) -> bytes:
        """The reply, which must not be long, and no error."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_TIMEOUT) as connection:
            connection.sendall(f"{command}\r\n".encode())
            reply = connection.recv(65536)
            assert reply.endswith(b"\r\n"), reply
            assert not reply.startswith(b"-"), reply
            return reply

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


class RedisClusterServers:
    """A Redis Cluster of three, each with a third of the slots and nothing in reserve."""

    slots = ((0, 5460), (5461, 10922), (10923, 16383))

    def __init__(self) -> None:
        self._buses = [free_port() for _ in self.slots]
        self.servers = [
            RedisServer("--cluster-enabled", "yes", "--cluster-port", str(bus), *_CLUSTER, f"nodes-{bus}.conf")
            for bus in self._buses
        ]
        self.address = ",".join(server.address for server in self.servers)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server, (first, last) in zip(self.servers, self.slots, strict=True):
                stack.enter_context(server)
                server.say(f"CLUSTER ADDSLOTSRANGE {first} {last}")
            for server, bus in zip(self.servers, self._buses, strict=True):
                self.servers[0].say(f"CLUSTER MEET 127.0.0.1 {server.port} {bus}")
            deadline = time.monotonic() + START_TIMEOUT
            while not all(self._is_complete(server) for server in self.servers):
                assert time.monotonic() < deadline, "the servers did not become a cluster"
                time.sleep(0.05)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for bus in self._buses:
            Path(tempfile.gettempdir(), f"nodes-{bus}.conf").unlink(missing_ok=True)

    def move(self, key: bytes) -> None:
        """The slot of a key, with this key alone in it, to the next server; the others hear of it by and by."""
        slot = int(self.servers[0].say(f"CLUSTER KEYSLOT {key.decode()}").strip(b":\r\n"))
        number = next(number for number, (first, last) in enumerate(self.slots) if first <= slot <= last)
        source, target = self.servers[number], self.servers[(number + 1) % len(self.servers)]
        names = [server.say("CLUSTER MYID").split(b"\r\n")[1].decode() for server in (source, target)]
        target.say(f"CLUSTER SETSLOT {slot} IMPORTING {names[0]}")
        source.say(f"CLUSTER SETSLOT {slot} MIGRATING {names[1]}")
        source.say(f"MIGRATE 127.0.0.1 {target.port} {key.decode()} 0 5000")
        for server in (target, source):
            server.say(f"CLUSTER SETSLOT {slot} NODE {names[1]}")

    def _is_complete(self, server: RedisServer) -> bool:
        info = server.say("CLUSTER INFO")
        return b"cluster_state:ok" in info and f"cluster_known_nodes:{len(self.servers)}".encode() in info


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


class PostgresCluster:
    """A PostgreSQL with a folder of its own, without safety nets against power cuts, and with a collation that sorts as
    people do, if it knows one. It can be stopped and started again on the same port.

    PostgreSQL refuses to run as root; then it is run as the user `postgres`.
    """

    def __init__(self) -> None:
        self._binaries = Path(require_binary("initdb", *POSTGRES_FOLDERS)).resolve().parent
        self._folder = Path(tempfile.mkdtemp(prefix="llm-backend-postgres-"))
        self._user = _unprivileged_user(self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._run("initdb", "--pgdata", self._data, *INITDB_OPTIONS, *self._collation())

    def url(self, database: str = "postgres", *, scheme: str = "postgresql+asyncpg") -> str:
        return f"{scheme}://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        arguments = ["-D", self._data, "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._folder), "-F"]
        self._process = subprocess.Popen(
            [str(self._binaries / "postgres"), *arguments, *POSTGRES_OPTIONS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )
        _wait_until(self._answers, self._process, "postgres")

    def stop(self) -> None:
        """At once, without saving; all connections are cut."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_TIMEOUT)
            self._process = None

    def freeze(self) -> None:
        """Let it keep its connections and never answer, as behind a network that is cut, until `thaw`."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        """Each connection has a process of its own, and its own group."""
        assert self._process is not None
        pid = self._process.pid
        self._process.send_signal(number)  # first, so that it makes no new ones
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _collation(self) -> list[str]:
        """Before version 15 there is only that of the system, which may have no other than C."""
        known = subprocess.run([str(self._binaries / "initdb"), "--help"], check=True, capture_output=True, text=True)
        return LIKE_PEOPLE if "--locale-provider" in known.stdout else ["--no-locale"]

    def _answers(self) -> bool:
        command = [str(self._binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=self._user, cwd="/")


def _unprivileged_user(folder: Path) -> str | None:
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, SUPERUSER)
    return SUPERUSER


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
