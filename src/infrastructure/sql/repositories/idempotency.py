"""What came of requests under an Idempotency-Key."""

from datetime import datetime

from sqlalchemy import BigInteger, Text, and_, bindparam, delete, insert, select

from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.domain.errors import IdempotencyMismatch
from llm_backend.domain.ids import UserId
from llm_backend.infrastructure.sql.dialects import TurnOfKey
from llm_backend.infrastructure.sql.errors import Violation
from llm_backend.infrastructure.sql.rows import idempotency_keys
from llm_backend.infrastructure.sql.transaction import Transaction

_OWNER = bindparam("owner", type_=BigInteger)
_KEY = bindparam("key", type_=Text)
_NAMED = and_(idempotency_keys.c.owner == _OWNER, idempotency_keys.c.key == _KEY)
_TAKE_TURN = select(TurnOfKey(_OWNER, _KEY))
_OUTCOME = select(idempotency_keys.c.fingerprint, idempotency_keys.c.outcome).where(_NAMED)


class SqlIdempotencyRecords:
    """`IdempotencyRecords` in the table `idempotency_keys`, which the answer journal shares."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def outcome(self, owner: UserId, key: IdempotencyKey) -> str | None:
        values = {"owner": owner, "key": key.key}
        await self._transaction.execute(_TAKE_TURN, values)
        row = (await self._transaction.execute(_OUTCOME, values)).first()
        if row is None:
            return None
        fingerprint, outcome = row
        if fingerprint != key.fingerprint:
            raise IdempotencyMismatch
        return str(outcome)

    async def record(self, owner: UserId, key: IdempotencyKey, outcome: str, *, at: datetime) -> None:
        values = {
            "owner": owner,
            "key": key.key,
            "fingerprint": key.fingerprint,
            "outcome": outcome,
            "created_at": at,
        }
        try:
            await self._transaction.execute(insert(idempotency_keys), values)
        except Violation as error:
            raise AlreadyRecorded from error

    async def forget(self, owner: UserId, key: IdempotencyKey) -> None:
        await self._transaction.execute(delete(idempotency_keys).where(_NAMED), {"owner": owner, "key": key.key})

    async def forget_before(self, moment: datetime) -> int:
        result = await self._transaction.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < moment))
        return result.rowcount
