"""For those who test against this product, or write an adapter for it.

`contracts` holds what every adapter must keep, as classes to subclass; `faults` makes any port fail; `clock` puts time
under control; `ScriptedChatModel` says what it is told to; the `Memory…` adapters keep everything in this process, and
are imported on first use. Needs no web framework; the contracts need pytest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.faults import Faults, Faulty, faults_at_every_call
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel

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
    "FOREVER",
    "CountingIds",
    "Faults",
    "Faulty",
    "ManualClock",
    "MemoryBlobs",
    "MemoryCache",
    "MemoryJobs",
    "MemoryPassageIndex",
    "MemoryRateLimiter",
    "MemoryStopSignals",
    "MemoryStore",
    "MemoryStreamLog",
    "ScriptedChatModel",
    "faults_at_every_call",
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
