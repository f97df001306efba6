"""Replacing keys while everybody is being served."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from llm_backend.application.conversations import key_binding
from llm_backend.application.ports.key_ring import KeyRing
from llm_backend.application.ports.sealed_secrets import SealedSecrets, StoredSecret
from llm_backend.application.ports.secret_box import RotatableSecretBox, SecretUnreadable
from llm_backend.domain.errors import Conflict
from llm_backend.domain.secrets import SealedSecret

# Servers look for a new key whenever they use the newest, but what they made with the old one a moment ago may still be
# on its way into the database; and where files come to replicas by something slower than a disk, that takes minutes.
SETTLING = timedelta(minutes=10)
BATCH = 200  # secrets in one transaction, which takes a few milliseconds
PAUSE = timedelta(milliseconds=20)  # between two of them, for those who serve and want to write as well


class KeysStillNeeded(Conflict):
    """Something may still depend on an old key."""

    code = "keys_still_needed"
    default_message = "An old key may still be needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Secrets sealed anew so far, of how many; and how many of the rest no key opens."""

    done: int = 0
    total: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class SealAnew:
    """Seal all stored secrets under the newest key, in small transactions beside those of whoever serves.

    May be cut off anywhere and started again. What no key opens stays as it is, and is counted.
    """

    ring: KeyRing
    box: RotatableSecretBox
    secrets: SealedSecrets
    batch: int = BATCH
    pause: timedelta = PAUSE

    async def __call__(self) -> AsyncIterator[Progress]:
        """After each transaction, how far it has come; nothing when there was nothing to do.

        Goes over all of them again until it finds nothing more: a server may have sealed behind its back.
        """
        outstanding = await self._outstanding()
        done, changed = 0, True
        while changed:
            changed, unreadable = False, 0
            async for page in self._pages():
                changes = self._changes(page)
                await self.secrets.replace(changes)
                changed = changed or bool(changes)
                done, unreadable = done + len(changes), unreadable + len(page) - len(changes)
                yield Progress(done=done, total=max(outstanding, done + unreadable), unreadable=unreadable)

    async def _outstanding(self) -> int:
        newest = self.ring.key_ids()[0]
        counts = await self.secrets.count_by_key()
        return sum(count for key_id, count in counts.items() if key_id != newest)

    async def _pages(self) -> AsyncIterator[Sequence[StoredSecret]]:
        newest, after = self.ring.key_ids()[0], None
        while page := await self.secrets.sealed_otherwise(newest, after=after, limit=self.batch):
            yield page
            after = page[-1].conversation
            await asyncio.sleep(self.pause.total_seconds())

    def _changes(self, page: Sequence[StoredSecret]) -> Sequence[tuple[StoredSecret, SealedSecret]]:
        changes: list[tuple[StoredSecret, SealedSecret]] = []
        for stored in page:
            bound_to = key_binding(stored.owner, stored.conversation)
            try:
                changes.append((stored, self.box.seal_anew(stored.secret, bound_to=bound_to)))
            except SecretUnreadable:
                continue
        return changes


@dataclass(frozen=True, slots=True)
class RenewKey:
    """Make a new key. Keys of earlier rotations that nothing can depend on any more make room for it."""

    ring: KeyRing
    settling: timedelta = SETTLING
    secrets: SealedSecrets | None = None

    async def __call__(self) -> str | None:
        """The id of the new key; none while secrets are left under an older key, because a rotation was cut off."""
        in_use = await self.secrets.count_by_key() if self.secrets else {}
        old = self.ring.key_ids()[1:]
        if any(key_id in in_use for key_id in old):
            return None
        if self.ring.unchanged_for() >= self.settling:
            self.ring.drop(old)
        return self.ring.add()


@dataclass(frozen=True, slots=True)
class DropOldKeys:
    """Forget the keys that nothing depends on any more."""

    ring: KeyRing
    settling: timedelta = SETTLING
    secrets: SealedSecrets | None = None

    async def __call__(self, *, at_once: bool = False) -> Sequence[str]:
        """The ids of those that are gone. A key that a stored secret needs is never among them.

        Raises `KeysStillNeeded` when the newest key is too new to be sure, unless it shall happen `at_once`.
        """
        age = self.ring.unchanged_for()
        old = self.ring.key_ids()[1:]
        if old and age < self.settling and not at_once:
            minutes = (self.settling - age) // timedelta(minutes=1) + 1
            raise KeysStillNeeded(f"The newest key is too new to drop the old ones: try again in {minutes} minutes")
        in_use = await self.secrets.count_by_key() if self.secrets else {}
        unused = [key_id for key_id in old if key_id not in in_use]
        self.ring.drop(unused)
        return unused
