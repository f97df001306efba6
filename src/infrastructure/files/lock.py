"""Folders and files for one process at a time."""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from llm_backend.infrastructure.files.folders import make_private

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, wait: bool) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError("Somebody else holds the lock") from error

else:
    import fcntl

    def _lock(descriptor: int, *, wait: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


_WAYS_OUT = "Stop that one, or give this one"


class InUse(OSError):
    """Another process, or another backend in this one, works with the folder or the file."""


class FileLock:
    """An exclusive lock on a file, held until `release` or the end of the process, however it ends.

    The file stays: removing it would let a third one lock another file of the same name.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        """Raises `BlockingIOError` when somebody else holds it, unless told to wait for them."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._descriptor, wait=wait)
        except BaseException:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """A second time is no error."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def lock_folder(folder: Path) -> FileLock:
    """Take a data folder for this process alone, and make it if it is missing.

    Raises `InUse` with a message for the operator.
    """
    make_private(folder)
    return _locked(folder / ".lock", f"{folder} is in use by another server. {_WAYS_OUT} a data folder of its own.")


def lock_database(file: Path) -> FileLock:
    """Take a database for this process alone, under whatever name it is reached; its folder is made if missing.

    The lock is a hidden file beside it, since closing a file of SQLite's drops the locks of SQLite itself. Raises
    `InUse` with a message for the operator.
    """
    make_private(file.parent)
    target = file.resolve()
    lock = target.with_name(f".{target.name}.lock")
    return _locked(lock, f"{file} is in use by another server. {_WAYS_OUT} a database of its own.")


def _locked(lock: Path, refusal: str) -> FileLock:
    try:
        return FileLock(lock)
    except BlockingIOError as error:
        raise InUse(refusal) from error
