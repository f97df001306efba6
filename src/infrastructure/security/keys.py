"""Keys that are made at the first start and kept beside the data."""

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from secrets import token_bytes, token_hex

logger = logging.getLogger(__name__)


class KeyFileUnusable(OSError):
    """The file is there but must not or cannot be used; the message says why and what to do."""


def load_or_create_key(path: Path, size: int) -> bytes:
    """The key in that file, of `size` bytes, written there in hexadecimal.

    If there is no file, one is made that only its owner can read; it survives a power cut, and of several processes
    that start at once all get the same key. Raises `KeyFileUnusable`, and `OSError` when the folder cannot be used.
    """
    if not path.exists():
        _create(path, token_bytes(size))
    return _load(path, size)


def load_or_create_keys(path: Path, size: int) -> Sequence[bytes]:
    """The ring of keys in that file, of `size` bytes each: one per line, in hexadecimal, and `#` begins a comment.

    Whoever rotates writes a new line above the others. If there is no file, one is made as `load_or_create_key` does,
    with one line. Raises `KeyFileUnusable`, which names the line, and `OSError` when the folder cannot be used.
    """
    if not path.exists():
        _create(path, token_bytes(size))
    return _load_ring(path, size)


def _create(path: Path, key: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{token_hex(8)}")
    try:
        _write(draft, f"{key.hex()}\n".encode())
        os.link(draft, path)  # the whole file appears at once, and never in the place of another
    except FileExistsError:
        pass  # another process was faster: its key is the key
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load(path: Path, size: int) -> bytes:
    _check_mode(path)
    return _key_of(path.read_bytes().decode("ascii", "replace"), size, str(path))


def _load_ring(path: Path, size: int) -> Sequence[bytes]:
    _check_mode(path)
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    texts = {number: line.partition("#")[0].strip() for number, line in enumerate(lines, start=1)}
    keys = [_key_of(text, size, f"{path}, line {number},") for number, text in texts.items() if text]
    if not keys:
        raise KeyFileUnusable(f"{path} has no key: each line must hold {2 * size} hexadecimal digits")
    return keys


def _key_of(text: str, size: int, where: str) -> bytes:
    """What is wrong is not shown: it may be nearly a key."""
    try:
        key = bytes.fromhex(text)
    except ValueError as error:
        raise KeyFileUnusable(f"{where} is not a key: it must hold {2 * size} hexadecimal digits") from error
    if len(key) != size:
        raise KeyFileUnusable(f"{where} is not the right key: it has {len(key)} bytes instead of {size}")
    return key


def _check_mode(path: Path) -> None:
    """Everybody's key is nobody's key. A group may be meant: that is how orchestrators mount secrets."""
    if os.name != "posix":
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IRWXO:
        raise KeyFileUnusable(f"{path} can be read by everybody on this machine: chmod 600 {path}")
    if mode & stat.S_IRWXG:
        logger.warning("%s can be read by its group (mode %o); chmod 600 it unless that is meant", path, mode)
