"""Rings of keys: the first one is in use, and the others are for what was made with them before."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from llm_backend.application.ending import ended
from llm_backend.infrastructure.security.keys import add_key, drop_keys, load_ring, make_if_missing

logger = logging.getLogger(__name__)

Keys = tuple[bytes, ...]


def key_id(key: bytes) -> str:
    """Tells keys apart without telling anything about them."""
    return sha256(b"llm_backend key id" + key).hexdigest()[:16]


class Ring(Protocol):
    """Where adapters take their keys from."""

    @property
    def known(self) -> Keys:
        """The keys as they were seen last; the same object until others are seen."""

    def current(self) -> Keys:
        """The keys as they are now. Costs a look at the disk, some microseconds."""


class FixedKeyRing:
    """Keys that somebody else looks after, such as those of a configuration.

    Raises `ValueError` for no key, or one that is shorter than `size` bytes.
    """

    is_ours = False

    def __init__(self, keys: Sequence[bytes], size: int) -> None:
        if not keys or any(len(key) < size for key in keys):
            raise ValueError(f"Each key must have at least {size} bytes, and there must be one")
        self.known: Keys = tuple(dict.fromkeys(keys))

    def current(self) -> Keys:
        return self.known

    def key_ids(self) -> Sequence[str]:
        return [key_id(key) for key in self.known]

    def unchanged_for(self) -> timedelta:
        """Nobody knows."""
        return timedelta(0)

    def add(self) -> str:
        raise NotImplementedError

    def drop(self, key_ids: Collection[str]) -> None:
        raise NotImplementedError


class FileKeyRing:
    """The keys of a file, which may be replaced at any time, by any process; a file is made if there is none.

    A file that is away or broken leaves the keys that were read before, with a complaint in the log. `also` are keys of
    the configuration, which come last. Raises `KeyFileUnusable`, and `OSError` when the folder cannot be used, but only
    to begin with.
    """

    is_ours = True

    def __init__(
        self, path: Path, size: int, *, also: Sequence[bytes] = (), now: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._size = size
        self._also = also
        self._now = now
        self._complaint = ""
        make_if_missing(path, size)
        self._seen = _signature(path)  # of before each reading: what comes in between is seen the next time
        self.known: Keys = self._with_others(load_ring(path, size))

    def current(self) -> Keys:
        try:
            seen = _signature(self._path)
            if seen != self._seen:
                self._take(load_ring(self._path, self._size))
                self._seen = seen
        except OSError as error:
            self._complain(str(error))
        return self.known

    def key_ids(self) -> Sequence[str]:
        """Of the file. Raises `KeyFileUnusable` and `OSError`, like all that follows."""
        return [key_id(key) for key in load_ring(self._path, self._size)]

    def unchanged_for(self) -> timedelta:
        return timedelta(seconds=max(0.0, self._now() - self._path.stat().st_mtime))

    def add(self) -> str:
        return key_id(add_key(self._path, self._size))

    def drop(self, key_ids: Collection[str]) -> None:
        drop_keys(self._path, self._size, [key for key in self._old_keys() if key_id(key) in key_ids])

    def _old_keys(self) -> Sequence[bytes]:
        return load_ring(self._path, self._size)[1:]

    def _take(self, keys: Sequence[bytes]) -> None:
        self.known = self._with_others(keys)
        self._complaint = ""
        logger.info("%s has changed: %s keys, %s is the newest", self._path, len(keys), key_id(keys[0]))

    def _with_others(self, keys: Sequence[bytes]) -> Keys:
        return tuple(dict.fromkeys((*keys, *self._also)))

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            logger.error("going on with the keys as they were: %s", text)
        self._complaint = text


@asynccontextmanager
async def watched(look: Callable[[], object], every: timedelta) -> AsyncIterator[None]:
    """Look again and again until the end of the block, for what nobody asks for by itself: that a key is gone."""
    task = asyncio.create_task(_again_and_again(look, every), name="key-watch")
    try:
        yield
    finally:
        await ended(task)


async def _again_and_again(look: Callable[[], object], every: timedelta) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        look()


def _signature(path: Path) -> tuple[int, int, int]:
    """Another one for another file of this name; those that are replaced as a whole have another inode."""
    found = path.stat()
    return (found.st_ino, found.st_mtime_ns, found.st_size)
