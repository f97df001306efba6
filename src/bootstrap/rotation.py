"""Keys replaced from the command line, beside running servers."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from enum import Enum, auto

from llm_backend.application.key_rotation import SETTLING, DropOldKeys, Progress, RenewKey, SealAnew
from llm_backend.application.ports.key_ring import KeyRing
from llm_backend.bootstrap.adapters import secrets_ring, tokens_ring
from llm_backend.bootstrap.databases import open_store_beside_servers
from llm_backend.config import ConfigurationError, Fault, Settings
from llm_backend.infrastructure.files.folders import make_private
from llm_backend.infrastructure.files.lock import FileLock, InUse
from llm_backend.infrastructure.security.secret_box import AesGcmSecretBox


class Rotation(Enum):
    """What becomes of the keys."""

    NEW = auto()
    SEAL_ONLY = auto()
    DROP = auto()
    DROP_NOW = auto()


async def rotate_secrets_keys(settings: Settings, how: Rotation) -> None:
    """A new key for what is sealed in the database, and everything there sealed with it."""
    with _alone(settings):
        ring = secrets_ring(settings)
        async with AsyncExitStack() as stack:
            store = await open_store_beside_servers(settings, stack)
            secrets = store.sealed_secrets
            if how is Rotation.NEW and ring.is_ours:
                _tell_new_key(await RenewKey(ring, SETTLING, secrets)())
            await _seal_anew(SealAnew(ring, AesGcmSecretBox(ring), secrets))
            try:
                await _drop(ring, DropOldKeys(ring, SETTLING, secrets), how)
            finally:
                _tell_ring(ring.key_ids(), await secrets.count_by_key())


async def rotate_token_keys(settings: Settings, how: Rotation) -> None:
    """A new key for tokens. What the old one has signed is good until its end, or until the old one is dropped."""
    if settings.jwt.secret:
        message = "is in the configuration: put a new one there and the old one into jwt.previous, and restart"
        raise ConfigurationError([Fault(path="jwt.secret", message=message)])
    settling = settings.jwt.ttl + SETTLING
    with _alone(settings):
        ring = tokens_ring(settings)
        if how is Rotation.NEW:
            _tell_new_key(await RenewKey(ring, settling)())
        await _drop(ring, DropOldKeys(ring, settling), how)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One rotation at a time. Raises `InUse`."""
    make_private(settings.data_folder)
    try:
        lock = FileLock(settings.data_folder / ".rotate-keys.lock")
    except BlockingIOError as error:
        raise InUse("Keys are being rotated already. Let that come to its end, and try again.") from error
    with lock:
        yield


async def _seal_anew(seal: SealAnew) -> None:
    progress = Progress()
    async for progress in seal():
        _say(f"{progress.done} of {progress.total} secrets are sealed anew")
    if progress.unreadable:
        sys.stderr.write(f"warning: {progress.unreadable} secrets can be opened with no key that is here\n")


async def _drop(ring: KeyRing, drop: DropOldKeys, how: Rotation) -> None:
    if how in {Rotation.DROP, Rotation.DROP_NOW} and ring.is_ours:
        for key_id in await drop(at_once=how is Rotation.DROP_NOW):
            _say(f"The key {key_id} is gone")


def _tell_new_key(key_id: str | None) -> None:
    if key_id:
        _say(f"A new key was made: {key_id}")
    else:
        _say("An earlier rotation was cut off: it is brought to its end first, without another key")


def _tell_ring(key_ids: Sequence[str], counts: Mapping[str, int]) -> None:
    _say("Keys, newest first:")
    for key_id in key_ids:
        _say(f"  {key_id}  {counts.get(key_id, 0)} secrets")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
