"""What many replies send within one turn of the event loop, written to their sockets one right behind the other.

A piece that is written alone wakes up its reader, who has gone back to sleep before the next one is made, and finds
the system's code out of the caches. With a thousand streams at a time that was a tenth of all CPU.
"""

import asyncio

MOST_WAITING = 256 * 1024
"""Bytes, of all together. Only what is written can hold up those who write too much."""


class BatchedWrites:
    """Holds bytes back until the end of this turn of the event loop; the order of each transport is kept.

    For one event loop. Whoever writes to a transport by itself, or closes it, has to `flush` it before.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.WriteTransport, list[bytes]] = {}
        self._size = 0

    def add(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        waiting = self._waiting
        if not waiting:
            asyncio.get_running_loop().call_soon(self._write_all)
        if (pieces := waiting.get(transport)) is None:
            waiting[transport] = [data]
        else:
            pieces.append(data)
        self._size += len(data)
        if self._size > MOST_WAITING:
            self._write_all()

    def flush(self, transport: asyncio.WriteTransport) -> None:
        """Write what waits for this one, now."""
        if (pieces := self._waiting.pop(transport, None)) is not None:
            _write(transport, pieces)

    def _write_all(self) -> None:
        waiting, self._waiting, self._size = self._waiting, {}, 0
        for transport, pieces in waiting.items():
            _write(transport, pieces)


def _write(transport: asyncio.WriteTransport, pieces: list[bytes]) -> None:
    """Nobody is there for the errors of one reply, from which the others must not suffer."""
    if transport.is_closing():
        return
    try:
        transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
    except Exception as error:  # noqa: BLE001 - told to the loop, as those of its callbacks are
        asyncio.get_running_loop().call_exception_handler(
            {"message": "A reply could not be written", "exception": error, "transport": transport}
        )
        transport.abort()
