"""What processes that stay begin with."""

import ctypes
import os
import sys

from llm_backend.config import Settings
from llm_backend.interface.logs import set_up_logs

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # in glibc's malloc.h
HEAPS = 2
LARGE = 256 * 1024  # bytes


def begin(settings: Settings) -> None:
    """Logs as configured; and what libraries write, too, is for the owner alone: documents are in the files of LanceDB,
    word for word."""
    os.umask(0o077)
    keep_heaps_few()
    set_up_logs(settings.log.level, json=None if settings.log.format == "auto" else settings.log.format == "json")


def keep_heaps_few() -> bool:
    """Before there are threads; what `MALLOC_ARENA_MAX` says goes before. Returns whether anything was changed.

    glibc gives threads heaps of their own, up to eight for each core, and what becomes free in one helps no other. With
    LanceDB's threads that was 65 MiB of a server that is written to, and it took ten minutes to get there; with two
    heaps it is 20 MiB, at once. What is `LARGE` goes back to the system when it is free: glibc takes ever larger pieces
    from the heaps, once they have been freed, which were 60 MiB of a server that searches 100,000 passages.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other libraries have none
    return mallopt is not None and mallopt(_M_ARENA_MAX, HEAPS) == mallopt(_M_MMAP_THRESHOLD, LARGE) == 1
