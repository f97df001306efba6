"""Sparing a process what somebody else's library imports only because it is there."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let packages look as if they were not installed, until the end of the block. Those that are imported already
    stay as they are."""
    names = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None makes an import raise ModuleNotFoundError
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
