"""How much of a reply still waits for its client, here and in the system."""

import asyncio
import sys

if sys.platform == "win32":

    def _in_socket(descriptor: int) -> int:  # noqa: ARG001
        return 0

else:
    import fcntl
    import struct
    import termios

    def _in_socket(descriptor: int) -> int:
        try:
            answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(struct.calcsize("i")))
        except (OSError, ValueError):  # not every system knows that of sockets
            return 0
        return int(struct.unpack("i", answer)[0])


def unread(transport: asyncio.Transport) -> int:
    """Bytes. The socket alone takes some megabytes, and more from the transport only when a good part of them is read:
    what waits in the transport would be at a standstill for long while a slow client reads."""
    socket = transport.get_extra_info("socket")
    return transport.get_write_buffer_size() + (0 if socket is None else _in_socket(socket.fileno()))
