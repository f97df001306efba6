"""The reading process: `python -m llm_backend.infrastructure.parsing.worker LIMITS`, started by `SandboxedParser`.

It reads requests from its standard input and writes replies to its standard output until the input ends. It knows
nothing of the server: no settings, no secrets in its environment, no database.
"""

import os
import resource
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from traceback import format_exc
from typing import BinaryIO

import msgspec

from llm_backend.domain.errors import DocumentTooLarge, DocumentUnreadable, DomainError
from llm_backend.infrastructure.parsing.limits import ParsingLimits
from llm_backend.infrastructure.parsing.protocol import LENGTH_BYTES, READY, Reply, decode_request, encode, framed
from llm_backend.infrastructure.parsing.reading import read_document

_GRACE_SECONDS = 5  # the server's own clock comes first; this one is for when the server is gone
_RETIRE_ABOVE = 200 * 2**20


def main() -> None:
    limits = msgspec.json.decode(sys.argv[1], type=ParsingLimits)
    requests, replies = _private_pipes()
    _confine(limits)
    replies.write(framed(READY))
    replies.flush()
    try:
        _serve(requests, replies, limits)
    finally:
        shutil.rmtree(Path.cwd(), ignore_errors=True)  # the server may no longer be there to do it


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output under numbers of their own: a library that prints must not garble the replies."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return requests, replies


def _confine(limits: ParsingLimits) -> None:
    for politely in (
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGINT,
    ):  # meant for the server, sent to all of its processes
        signal.signal(politely, signal.SIG_IGN)
    _limit(resource.RLIMIT_AS, limits.memory)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, limits.unpacked)
    _limit(resource.RLIMIT_NOFILE, 128)


def _limit(what: int, most: int) -> None:
    with suppress(ValueError, OSError):  # macOS knows RLIMIT_AS but refuses it
        resource.setrlimit(what, (most, most))


def _serve(requests: BinaryIO, replies: BinaryIO, limits: ParsingLimits) -> None:
    while header := requests.read(LENGTH_BYTES):
        request = decode_request(requests.read(int.from_bytes(header, "big")))
        _start_clocks(limits)
        reply = _read(Path(request.path), request.name, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(framed(encode(reply)))
        replies.flush()
        if reply.retire:
            return


def _start_clocks(limits: ParsingLimits) -> None:
    """Both kill: a C library that never returns cannot be asked."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    used = int(spent.ru_utime + spent.ru_stime) + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + limits.cpu_seconds, most))
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds + _GRACE_SECONDS)


def _read(file: Path, name: str, limits: ParsingLimits) -> Reply:
    try:
        document = read_document(file, name, limits)
    except DomainError as error:
        return Reply(code=error.code, message=str(error), retire=_is_bloated())
    except MemoryError:
        return Reply(code=DocumentTooLarge.code, message="Reading the document takes too much memory", retire=True)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a panic of the Rust library is no `Exception`
        unreadable = DocumentUnreadable()
        return Reply(code=unreadable.code, message=str(unreadable), detail=format_exc(), retire=True)
    return Reply(document=document, retire=_is_bloated())


def _is_bloated() -> bool:
    """Memory that a big file took and the allocator kept. Not by `ru_maxrss`: that begins at the server's own."""
    try:
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return False
    return resident_pages * resource.getpagesize() > _RETIRE_ABOVE


if __name__ == "__main__":
    main()
