"""`llm-backend` in processes that begin as forks of one that has imported it already, of which each worker has one.

To import it takes most of the time in which it starts. All else is as ever: a process with its own arguments, folder,
environment and exit status. What is about beginning and ending itself takes `python -m llm_backend` instead.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Lock
from typing import TextIO

from llm_backend.cli import main

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "llm_backend.bootstrap.commands",
        "llm_backend.bootstrap.databases",
        "llm_backend.infrastructure.sql.store",
        "sqlalchemy.dialects.postgresql.asyncpg",
        "sqlalchemy.dialects.sqlite.aiosqlite",
        "alembic.config",
        "anyio._backends._asyncio",
        "httpcore",
        "uvloop",
        "websockets.server",
    ]
)


class Fork:
    """Has what `subprocess.Popen` has. Errors come with the output, unless they are to be `apart`."""

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, apart: bool = False
    ) -> None:
        pipes = [_context.Pipe(duplex=False) for _ in range(1 + apart)]
        ends = [writer for _, writer in pipes]
        given = (ends[0], ends[-1], list(arguments), str(cwd), dict(os.environ if env is None else env))
        self._process = _context.Process(target=_run, args=given, daemon=True)
        self._process.start()
        self._polling = Lock()
        for writer in ends:
            writer.close()
        self.stdout, self.stderr = _read(pipes[0][0]), _read(pipes[1][0]) if apart else None

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        with self._polling:  # the status is there to be read once
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        if self.poll() is None:
            self._process.kill()


def completed(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """`llm-backend` with these arguments, run to its end."""
    process = Fork(arguments, cwd=cwd, env=env, apart=True)
    assert process.stderr is not None
    with process.stdout as stdout, process.stderr as stderr, ThreadPoolExecutor(1) as aside:
        errors = aside.submit(stderr.read)
        output = stdout.read()
        return subprocess.CompletedProcess(arguments, process.wait(), output, errors.result())


def _read(connection: Connection) -> TextIO:
    with connection:
        return os.fdopen(os.dup(connection.fileno()), encoding="utf-8")


def _run(output: Connection, errors: Connection, arguments: Sequence[str], cwd: str, env: Mapping[str, str]) -> None:
    os.dup2(output.fileno(), 1)
    os.dup2(errors.fileno(), 2)
    output.close()
    errors.close()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["llm-backend", *arguments]
    sys.exit(main(arguments))
