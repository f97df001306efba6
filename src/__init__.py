"""A backend for chatting with language models and with documents, as a server and as a library.

Everything here is imported on first use, so that `import llm_backend` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # only type checkers may follow what __getattr__ does
    from llm_backend.application.backend import Backend
    from llm_backend.bootstrap import open_backend
    from llm_backend.config import Settings
    from llm_backend.domain.errors import DomainError

    __version__: str

__all__ = ["Backend", "DomainError", "Settings", "__version__", "open_backend"]

_HOMES = {
    "Backend": "llm_backend.application.backend",
    "DomainError": "llm_backend.domain.errors",
    "Settings": "llm_backend.config",
    "open_backend": "llm_backend.bootstrap",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("llm-backend-api")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
