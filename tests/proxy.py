"""A network between two programs that can be made slow, silent, or cut."""

import asyncio
from contextlib import suppress
from typing import Self


class Proxy:
    """Listens on `port` and passes on what comes, both ways, to another port of this machine.

    `delay` is in seconds, for whatever passes from now on; while `silent`, nothing passes and nothing is lost; while
    `refusing`, new connections are closed at once.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.delay = 0.0
        self.refusing = False
        self._target = target
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def silent(self) -> bool:
        return not self._passing.is_set()

    @silent.setter
    def silent(self, silent: bool) -> None:
        (self._passing.clear if silent else self._passing.set)()

    def cut(self) -> int:
        """Reset all connections; how many there were."""
        cut = len(self._writers)
        for writer in self._writers:
            writer.transport.abort()
        return cut

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            if not self.refusing:
                await self._connect(reader, writer)
        writer.transport.abort()
        self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}
        ways = [
            asyncio.create_task(way) for way in (self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers -= {writer, far_writer}
            far_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(self.delay)
            await self._passing.wait()
            writer.write(data)
            await writer.drain()


def port_of(url: str) -> int:
    """That of the database that a URL names."""
    return int(url.rpartition(":")[2].partition("/")[0])


def through(proxy: Proxy, url: str) -> str:
    """The same database, on the way that the proxy is."""
    return url.replace(f":{port_of(url)}/", f":{proxy.port}/")
