"""A child process with one connection to it, for any event loop.

Not `asyncio.create_subprocess_exec`: on uvloop that forks with Python's hooks for forks, and LanceDB's hook starts a
thread in the child. `subprocess.Popen` runs no hooks, and only blocks until the child has begun.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Self


class ChildProcess:
    """Leads a session of its own; standard input and output are the connection, whose end tells it to go."""

    def __init__(self, child: Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._child = child
        self.reader = reader
        self.writer = writer

    @classmethod
    async def start(cls, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> Self:
        """Raises `OSError`. Cancelled, it leaves nothing behind."""
        ours, theirs = socket.socketpair()
        with theirs:
            starting = asyncio.ensure_future(asyncio.to_thread(_start, command, theirs, folder, environment))
            try:
                child = await asyncio.shield(starting)
            except asyncio.CancelledError:
                ours.close()
                await _end(await starting)
                raise
            except BaseException:
                ours.close()
                raise
        return cls(child, *await asyncio.open_connection(sock=ours))

    @property
    def is_alive(self) -> bool:
        return self._child.poll() is None

    async def wait(self) -> int:
        """Its status; the negative number of a signal that killed it."""
        return await asyncio.to_thread(self._child.wait)

    async def kill(self) -> None:
        """It and whatever it started. Nothing of it is left afterwards, not even if this is cancelled."""
        self.writer.close()
        await asyncio.shield(asyncio.ensure_future(_end(self._child)))


def _start(command: Sequence[str], theirs: socket.socket, folder: Path, environment: Mapping[str, str]) -> Popen[bytes]:
    return Popen(  # noqa: S603 - our own interpreter and module
        command,
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=DEVNULL,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


async def _end(child: Popen[bytes]) -> None:
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    await asyncio.to_thread(child.wait)
