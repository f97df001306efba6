"""Reading documents in processes of their own, which are killed when they take too long."""

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Self

import msgspec

from llm_backend.domain.errors import DocumentEmpty, DocumentTooLarge, DocumentUnreadable, Unavailable
from llm_backend.domain.knowledge import ParsedDocument
from llm_backend.infrastructure.parsing.limits import ParsingLimits
from llm_backend.infrastructure.parsing.process import ChildProcess
from llm_backend.infrastructure.parsing.protocol import (
    LENGTH_BYTES,
    READY,
    Reply,
    Request,
    decode_reply,
    encode,
    framed,
)

logger = logging.getLogger(__name__)

_START_SECONDS = 30
_ENDED_FROM_OUTSIDE = frozenset({signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})


class SandboxedParser:
    """Implements `DocumentParser`. Close it when done; it may be used again afterwards.

    At most `at_once` files are read at the same time, the others wait. A process reads up to `files_per_process`
    files, one after the other, and is then replaced (or sooner, when it has grown too large): starting one costs 200 ms
    of CPU, reading a page of text 1 ms. It ends when idle for `idle_seconds`. A file that kills it, or
    takes longer than the limits allow, costs nobody else anything. Temporary files are made in `scratch`, by default
    the system's directory for them, and none is left. Needs a POSIX system.
    """

    def __init__(
        self,
        limits: ParsingLimits | None = None,
        *,
        at_once: int = 2,
        files_per_process: int = 500,
        idle_seconds: float = 30,
        scratch: Path | None = None,
    ) -> None:
        self._limits = limits or ParsingLimits()
        self._slots = asyncio.Semaphore(at_once)
        self._files_per_process = files_per_process
        self._idle_seconds = idle_seconds
        self._scratch = scratch
        self._idle: list[_Worker] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def parse(self, file: Path, name: str) -> ParsedDocument:
        path = await asyncio.to_thread(_looked_at, file)
        async with self._slots:
            worker = await self._worker()
            try:
                reply = await worker.read(path, name)
            except BaseException:
                await worker.kill()
                raise
            await self._put_back(worker, reply)
        if reply.detail:
            logger.warning("Reading a document failed unexpectedly: %s", reply.detail)
        return reply.document_or_error()

    async def aclose(self) -> None:
        """End all idle processes. Files being read are the business of those who wait for them."""
        while self._idle:
            await self._idle.pop().kill()
        await asyncio.gather(*self._ending)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _worker(self) -> "_Worker":
        """One that waits, unless it died waiting, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            await worker.kill()
        return await _Worker.start(self._limits, self._scratch)

    async def _put_back(self, worker: "_Worker", reply: Reply) -> None:
        if reply.retire or worker.files_read >= self._files_per_process:
            await worker.kill()
            return
        self._idle.append(worker)
        asyncio.get_running_loop().call_later(self._idle_seconds, self._retire, worker, worker.files_read)

    def _retire(self, worker: "_Worker", files_read: int) -> None:
        """End it if it has done nothing since."""
        if worker in self._idle and worker.files_read == files_read:
            self._idle.remove(worker)
            task = asyncio.create_task(worker.kill())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


class _Worker:
    """One reading process, its pipes and its directory for temporary files."""

    def __init__(self, process: ChildProcess, home: Path, limits: ParsingLimits) -> None:
        self._process = process
        self._home = home
        self._limits = limits
        self.files_read = 0

    @classmethod
    async def start(cls, limits: ParsingLimits, scratch: Path | None) -> Self:
        """Raises `Unavailable` if the process does not come up: that is not the document's fault."""
        with _directory(scratch) as home:
            process = await _spawned(home, limits)
            worker = cls(process, home, limits)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    ready = await worker._frame() == READY
            except (TimeoutError, asyncio.IncompleteReadError) as error:
                await worker.kill()
                raise Unavailable("Documents cannot be read at the moment") from error
            except BaseException:
                await worker.kill()
                raise
            assert ready
            return worker

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive

    async def read(self, file: Path, name: str) -> Reply:
        """The file by its absolute path. Raises `DocumentTooLarge` when time or memory do not suffice,
        `DocumentUnreadable` after a crash, and `Unavailable` when somebody has ended the process."""
        self.files_read += 1
        request = Request(path=str(file), name=name)
        try:
            async with asyncio.timeout(self._limits.wall_seconds):
                await self._send(framed(encode(request)))
                return decode_reply(await self._frame())
        except TimeoutError as error:
            raise DocumentTooLarge("Reading the document takes too long") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise await self._cause_of_death() from error

    async def kill(self) -> None:
        """It and whatever it started; nothing of it is left afterwards, not even if this is cancelled."""
        try:
            await self._process.kill()
        finally:
            shutil.rmtree(self._home, ignore_errors=True)

    async def _send(self, data: bytes) -> None:
        self._process.writer.write(data)
        await self._process.writer.drain()

    async def _frame(self) -> bytes:
        header = await self._process.reader.readexactly(LENGTH_BYTES)
        return await self._process.reader.readexactly(int.from_bytes(header, "big"))

    async def _cause_of_death(self) -> DocumentTooLarge | DocumentUnreadable | Unavailable:
        """Rust aborts when memory runs out, the kernel sends SIGXCPU or SIGKILL: too large, all of them."""
        code = await self._process.wait()
        logger.warning("A process that read a document ended with status %s", code)
        if -code in _CRASHES:
            return DocumentUnreadable()
        if -code in _ENDED_FROM_OUTSIDE:
            return Unavailable("Documents cannot be read at the moment")
        return DocumentTooLarge("Reading the document takes too much time or memory")


def _looked_at(file: Path) -> Path:
    """Its absolute path. Raises `DocumentEmpty`."""
    if file.stat().st_size == 0:
        raise DocumentEmpty("The file is empty")
    return file.absolute()


@contextmanager
def _directory(scratch: Path | None) -> Iterator[Path]:
    """A new directory, removed if something goes wrong."""
    home = Path(mkdtemp(prefix="llm-backend-reading-", dir=scratch))
    try:
        yield home
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


async def _spawned(home: Path, limits: ParsingLimits) -> ChildProcess:
    try:
        worker = "llm_backend.infrastructure.parsing.worker"
        command = [sys.executable, "-P", "-m", worker, msgspec.json.encode(limits).decode()]
        return await ChildProcess.start(command, folder=home, environment=_environment(home))
    except OSError as error:
        raise Unavailable("Documents cannot be read at the moment") from error


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the server's own: its environment holds secrets."""
    return {
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",  # glibc maps 64 MiB of address space for each further one
    }
