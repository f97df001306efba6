"""Having large tables put in order by a process of its own.

Compacting and indexing 100,000 passages takes 300 to 500 MiB for half a minute, of which a server would keep most, and
both cores, for which its searches would wait. The process takes them at a low priority, and gives all back.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta

import msgspec

LONGEST = timedelta(hours=1)
LOOK_EVERY = 0.1  # seconds
# Two heaps, and 32 MiB that are read ahead: 536 MiB for 110,000 passages in place of 639.
SPARINGLY = {"MALLOC_ARENA_MAX": "2", "LANCE_DEFAULT_IO_BUFFER_SIZE": str(32 * 1024 * 1024)}
TIDIER = "llm_backend.infrastructure.lancedb.tidier"


class Task(msgspec.Struct):
    """One table to be put in order."""

    uri: str
    storage_options: dict[str, str]
    table: str
    kept_versions: float  # seconds


class Tidying:
    """Starts such processes for the tables of one database, one at a time."""

    def __init__(self, uri: str, storage_options: Mapping[str, str], kept_versions: timedelta) -> None:
        self._uri = uri
        self._storage_options = dict(storage_options)
        self._kept_versions = kept_versions
        self._turn = asyncio.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._stopped = False

    async def __call__(self, table: str) -> None:
        """Wait for it, or for `stop`. Raises `RuntimeError` or `OSError` when it was not done; nothing is half-done
        then."""
        async with self._turn:
            if not self._stopped:
                await self._put_in_order(table)

    async def _put_in_order(self, table: str) -> None:
        task = Task(self._uri, self._storage_options, table, self._kept_versions.total_seconds())
        child = await asyncio.to_thread(_started, task)
        self._running = child
        if self._stopped:  # while it was being started
            child.kill()
        try:
            async with asyncio.timeout(LONGEST.total_seconds()):
                # Not `Popen.wait` in a thread: the few that there are for everybody have other things to do.
                while child.poll() is None:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_EVERY)
        finally:
            self._running = None
            _end(child)
        if child.returncode and not self._stopped:
            raise RuntimeError(f"putting a table in order ended with status {child.returncode}")

    def stop(self) -> None:
        """For good. What they were at is done another time."""
        self._stopped = True
        if self._running is not None:
            self._running.kill()


def _started(task: Task) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", TIDIER],
        stdin=subprocess.PIPE,  # stays open: its end tells the process to go
        stdout=subprocess.DEVNULL,
        env={**os.environ, **SPARINGLY, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    assert child.stdin is not None
    try:
        child.stdin.write(msgspec.json.encode(task) + b"\n")
        child.stdin.flush()
    except OSError:
        _end(child)
        raise
    return child


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()  # no error if it has ended
    child.wait()
    if child.stdin is not None:
        child.stdin.close()
