"""Files that live for the length of a request."""

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from llm_backend.infrastructure.files.folders import make_private
from llm_backend.infrastructure.files.lock import FileLock

RUN = "run-"


class Scratch:
    """A folder of this process' own for temporary files, in a folder that processes may share."""

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder = folder
        self._lock = lock

    @classmethod
    def open(cls, shared: Path) -> Self:
        """Make the folder, and clear away what processes that have died left in `shared`."""
        make_private(shared)
        with FileLock(shared / ".lock", wait=True):  # nobody's new folder is taken for a dead one's
            _clear(shared)
            folder = Path(mkdtemp(prefix=RUN, dir=shared))
            return cls(folder, FileLock(_lock_of(folder)))

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        with self._lock:
            _remove(self.folder)


def _clear(shared: Path) -> None:
    """Whoever has died no longer holds the lock beside its folder; process ids would be used again."""
    for folder in shared.glob(f"{RUN}*/"):
        try:
            lock = FileLock(_lock_of(folder))
        except BlockingIOError:
            continue
        with lock:
            _remove(folder)


def _remove(folder: Path) -> None:
    """The lock first: what is left of a folder without one will be found and cleared, but not the other way round."""
    _lock_of(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")
