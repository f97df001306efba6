"""Everything in the memory of one process: for tests, and for what need not outlive it.

Each adapter is imported on its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # only type checkers may follow what __getattr__ does
    from llm_backend.infrastructure.memory.blobs import MemoryBlobs
    from llm_backend.infrastructure.memory.cache import MemoryCache
    from llm_backend.infrastructure.memory.jobs import MemoryJobs
    from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
    from llm_backend.infrastructure.memory.rate_limiter import MemoryRateLimiter
    from llm_backend.infrastructure.memory.stop_signals import MemoryStopSignals
    from llm_backend.infrastructure.memory.store import MemoryStore
    from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog

__all__ = [
    "MemoryBlobs",
    "MemoryCache",
    "MemoryJobs",
    "MemoryPassageIndex",
    "MemoryRateLimiter",
    "MemoryStopSignals",
    "MemoryStore",
    "MemoryStreamLog",
]

_HOMES = {
    "MemoryBlobs": "llm_backend.infrastructure.memory.blobs",
    "MemoryCache": "llm_backend.infrastructure.memory.cache",
    "MemoryJobs": "llm_backend.infrastructure.memory.jobs",
    "MemoryPassageIndex": "llm_backend.infrastructure.memory.passage_index",
    "MemoryRateLimiter": "llm_backend.infrastructure.memory.rate_limiter",
    "MemoryStopSignals": "llm_backend.infrastructure.memory.stop_signals",
    "MemoryStore": "llm_backend.infrastructure.memory.store",
    "MemoryStreamLog": "llm_backend.infrastructure.memory.stream_log",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
