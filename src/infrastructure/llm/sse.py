"""Server-sent events, byte by byte, as the WHATWG describes them and a little more forgiving."""

from collections.abc import Iterator

from llm_backend.domain.errors import UpstreamProtocolError

LONGEST_LINE = 1024 * 1024
LONGEST_STREAM = 1024 * 1024 * 1024

_MOST_LINES = 64 * 1024  # of one event
_BOM = b"\xef\xbb\xbf"


class SseParser:
    """Cuts a stream into the data of its events. Reads may be chopped anywhere, even inside a character.

    Lines end at LF, CRLF or CR and nowhere else (text libraries also cut at U+2028 and U+0085, which answers contain).
    Comments and fields other than `data` are skipped, events without data too. Memory is bounded by `longest_line`,
    which also limits the sum of an event's lines.
    """

    def __init__(self, *, longest_line: int = LONGEST_LINE, longest_stream: int = LONGEST_STREAM) -> None:
        self._longest_line = longest_line
        self._room = longest_stream
        self._line = bytearray()
        self._data: list[bytes] = []
        self._data_size = 0
        self._at_start = True
        self._after_cr = False

    @property
    def between_events(self) -> bool:
        """Whether everything fed so far has been told, so that the next byte begins a new event."""
        return not (self._line or self._data or self._after_cr)

    def skip(self, size: int) -> None:
        """Somebody else has read `size` bytes of whole events."""
        self._at_start = False
        self._room -= size
        if self._room < 0:
            raise UpstreamProtocolError

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that `data` completes.

        Raises `UpstreamProtocolError` when a line, an event or the whole stream has more bytes than its limit.
        """
        self._room -= len(data)
        if self._room < 0:
            raise UpstreamProtocolError
        if self._at_start:
            data = self._without_bom(data)
        if not data:
            return []
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return [event for line in self._lines(data) if (event := self._take(line)) is not None]

    def finish(self) -> list[bytes]:
        """What the end of the stream completes: some servers forget the last blank line."""
        last = bytes(self._line)
        self._line.clear()
        events = (self._take(last) if last else None, self._take(b""))
        return [event for event in events if event is not None]

    def _without_bom(self, data: bytes) -> bytes:
        """The stream's first bytes without its byte order mark; nothing while that is still undecided."""
        head = bytes(self._line) + data
        self._line.clear()
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._line += head
            return b""
        self._at_start = False
        return head.removeprefix(_BOM)

    def _lines(self, data: bytes) -> Iterator[bytes]:
        for piece in data.splitlines(keepends=True):
            line = piece.rstrip(b"\r\n")
            if len(self._line) + len(line) > self._longest_line:
                raise UpstreamProtocolError
            if len(line) == len(piece):
                self._line += piece
                return
            if self._line:
                line = bytes(self._line) + line
                self._line.clear()
            yield line

    def _take(self, line: bytes) -> bytes | None:
        if not line:
            return self._dispatch()
        if line.startswith(b"data:"):
            self._keep(line[5:].removeprefix(b" "))
        return None

    def _keep(self, value: bytes) -> None:
        self._data.append(value)
        self._data_size += len(value)
        if self._data_size > self._longest_line or len(self._data) > _MOST_LINES:
            raise UpstreamProtocolError

    def _dispatch(self) -> bytes | None:
        event = b"\n".join(self._data)
        self._data.clear()
        self._data_size = 0
        return event or None
