"""Keys that are made at the first start and kept beside the data."""

import logging
import os
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from secrets import token_bytes, token_hex

logger = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds


class KeyFileUnusable(OSError):
    """The file is there but must not or cannot be used; the message says why and what to do."""


def make_if_missing(path: Path, size: int) -> None:
    """A file with one new key, which only its owner can read, unless there is a file already.

    It survives a power cut, and of several processes that start at once one makes it and all read the same. Raises
    `OSError` when the folder cannot be used.
    """
    if not path.exists():
        _create(path, f"{token_bytes(size).hex()}\n".encode())
    _wait_while_empty(path)


def put_key_file(path: Path, content: bytes) -> None:
    """A file of keys that comes from somewhere else, in the same way. One that is there already must be the same.

    Raises `KeyFileUnusable` when it is another, and `OSError` when the folder cannot be used.
    """
    if not path.exists():
        _create(path, content)
    _wait_while_empty(path)
    if path.read_bytes() != content:
        raise KeyFileUnusable(f"{path} has other keys already, and is not overwritten: move it away")


def load_ring(path: Path, size: int) -> Sequence[bytes]:
    """The keys in that file, of `size` bytes each: one per line, in hexadecimal, and `#` begins a comment.

    Raises `KeyFileUnusable`, which names the line, and `OSError` when it cannot be read.
    """
    _check_mode(path)
    keys = [key for _, key in _keys_by_line(path, size) if key]
    if not keys:
        raise KeyFileUnusable(f"{path} has no key: each line must hold {2 * size} hexadecimal digits")
    return keys


def add_key(path: Path, size: int) -> bytes:
    """Put a new key above the others. Who reads meanwhile sees the old file or the new one, and both are whole.

    Of two processes that do so at once, the key of one may be lost. Raises as `load_ring` does.
    """
    load_ring(path, size)  # what is broken is not ours to mend
    key = token_bytes(size)
    _replace(path, f"{key.hex()}\n{_text_of(path)}")
    return key


def drop_keys(path: Path, size: int, keys: Collection[bytes]) -> None:
    """Take out the lines of these keys, in the same way. Raises as `load_ring` does."""
    if keys:
        _replace(path, "\n".join(line for line, key in _keys_by_line(path, size) if key not in keys))


def _create(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{token_hex(8)}")
    try:
        _write(draft, content)
        _publish(draft, path)
    except FileExistsError:
        pass  # another process was faster: its keys are the keys
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _publish(draft: Path, path: Path) -> None:
    """The whole file appears at once, and never in the place of another.

    Where there are no hard links – on FAT, on many servers of files – it is empty for an instant. Raises
    `FileExistsError`.
    """
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            draft.replace(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def _wait_while_empty(path: Path) -> None:
    """Another process may be just about to fill it; whoever was killed at that will not, and then it stays empty."""
    deadline = time.monotonic() + PATIENCE
    while path.stat().st_size == 0 and time.monotonic() < deadline:
        time.sleep(PATIENCE / 100)


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


def _replace(path: Path, text: str) -> None:
    """In one step, and for whom the old one was: who rotates may be root, and who serves is not."""
    path = path.resolve()  # a link stays a link
    draft = path.with_name(f".{path.name}.{token_hex(8)}")
    try:
        _write(draft, text.encode())
        _give_away(draft, path.stat())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _give_away(draft: Path, old: os.stat_result) -> None:
    if os.name != "posix":
        return
    new = draft.stat()
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        os.chown(draft, old.st_uid, old.st_gid)
    draft.chmod(stat.S_IMODE(old.st_mode))


def _keys_by_line(path: Path, size: int) -> Iterator[tuple[str, bytes | None]]:
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        text = line.partition("#")[0].strip()
        yield line, _key_of(text, size, f"{path}, line {number},") if text else None


def _text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


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
