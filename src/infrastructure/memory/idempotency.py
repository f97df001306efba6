"""Idempotency keys in memory."""

from dataclasses import dataclass
from datetime import datetime

from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.domain.errors import IdempotencyMismatch
from llm_backend.domain.ids import UserId
from llm_backend.infrastructure.memory.tables import Outcome, Place, Tables


@dataclass(frozen=True, slots=True)
class MemoryIdempotencyRecords:
    """Outcomes by owner and key."""

    place: Place

    async def outcome(self, owner: UserId, key: IdempotencyKey) -> str | None:
        return outcome_of(self.place.tables, owner, key)

    async def record(self, owner: UserId, key: IdempotencyKey, outcome: str, *, at: datetime) -> None:
        records = self.place.tables.idempotency
        if (owner, key.key) in records:
            raise AlreadyRecorded
        records[owner, key.key] = Outcome(fingerprint=key.fingerprint, outcome=outcome, at=at)

    async def forget(self, owner: UserId, key: IdempotencyKey) -> None:
        self.place.tables.idempotency.pop((owner, key.key), None)

    async def forget_before(self, moment: datetime) -> int:
        records = self.place.tables.idempotency
        old = [key for key, record in records.items() if record.at < moment]
        for key in old:
            del records[key]
        return len(old)


def outcome_of(tables: Tables, owner: UserId, key: IdempotencyKey) -> str | None:
    """None when the key is new. Raises `IdempotencyMismatch`."""
    record = tables.idempotency.get((owner, key.key))
    if record is None:
        return None
    if record.fingerprint != key.fingerprint:
        raise IdempotencyMismatch
    return record.outcome
