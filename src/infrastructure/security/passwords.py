"""Passwords as Argon2id hashes, computed beside the event loop."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from secrets import token_bytes
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import error_to_str

from llm_backend.domain.errors import Overloaded
from llm_backend.domain.users import PasswordHash
from llm_backend.infrastructure.codec.bcrypt_hashes import is_bcrypt

T = TypeVar("T")
HASH_BYTES = 32
SALT_BYTES = 16
BCRYPT_BYTES = 72
OUT_OF_MEMORY = error_to_str(-22)  # the library has one error for everything, told apart by its text


@dataclass(frozen=True, slots=True, kw_only=True)
class Argon2Cost:
    """What one hash costs: passes over the memory, KiB of memory, threads. OWASP's second choice, 26 ms of CPU."""

    time: int = 2
    memory: int = 19456
    parallelism: int = 1


class Argon2Passwords:
    """At most `workers` hashes at once, and `waiting` more in the queue; whoever comes then hears `Overloaded`.

    Hashes of bcrypt, which come from the old product, are verified as well, and outdated. Until their first login
    such accounts take longer to verify than others, and than none.
    """

    def __init__(self, cost: Argon2Cost | None = None, *, workers: int = 2, waiting: int = 64) -> None:
        cost = cost or Argon2Cost()
        self._hasher = PasswordHasher(
            time_cost=cost.time,
            memory_cost=cost.memory,
            parallelism=cost.parallelism,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._nobodys = _hash_of_no_password(cost)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="passwords")
        self._places = BoundedSemaphore(workers + waiting)

    async def hash(self, password: str) -> PasswordHash:
        return PasswordHash(await self._aside(lambda: self._hasher.hash(_as_bytes(password))))

    async def verify(self, password: str, stored: PasswordHash | None) -> bool:
        phc = (stored or self._nobodys).phc
        matches = matches_bcrypt if is_bcrypt(phc) else self._matches
        return await self._aside(lambda: matches(phc, password))

    def is_outdated(self, stored: PasswordHash) -> bool:
        try:
            return self._hasher.check_needs_rehash(stored.phc)
        except InvalidHashError:
            return True

    def close(self) -> None:
        """Let the threads go; what is waiting is cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, phc: str, password: str) -> bool:
        try:
            return self._hasher.verify(phc, _as_bytes(password))
        except (VerifyMismatchError, InvalidHashError):
            return False
        except VerificationError as error:
            if str(error) == OUT_OF_MEMORY:
                raise
            return False  # looks like a hash, but is none

    async def _aside(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise Overloaded
        try:
            return await asyncio.wrap_future(self._start(work))
        except (HashingError, VerificationError) as error:
            if str(error) == OUT_OF_MEMORY:
                raise Overloaded from error
            raise

    def _start(self, work: Callable[[], T]) -> Future[T]:
        """The place is free again when the thread is, not when the caller stops waiting for it."""
        try:
            future = self._threads.submit(work)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return future


def matches_bcrypt(stored: str, password: str) -> bool:
    """What bcrypt makes of it, which reads 72 bytes and no further."""
    import bcrypt

    try:
        return bcrypt.checkpw(_as_bytes(password)[:BCRYPT_BYTES], stored.encode())
    except ValueError:
        return False  # looks like a hash, but is none


def _hash_of_no_password(cost: Argon2Cost) -> PasswordHash:
    """Random bytes in the shape of a hash: checking a password against it takes as long and never succeeds."""
    salt, digest = (b64encode(token_bytes(size)).decode().rstrip("=") for size in (SALT_BYTES, HASH_BYTES))
    return PasswordHash(f"$argon2id$v=19$m={cost.memory},t={cost.time},p={cost.parallelism}${salt}${digest}")


def _as_bytes(password: str) -> bytes:
    """Any text has bytes here, half a surrogate pair too: such a password is merely a wrong one."""
    return password.encode("utf-8", "surrogatepass")
