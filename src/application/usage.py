"""What users use: noted in passing, written together, added up on request."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from llm_backend.application.metering import Share
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.usage import UsageLog
from llm_backend.application.repeating import written_behind
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import DomainError
from llm_backend.domain.ids import ConversationId, UsageId, UserId
from llm_backend.domain.usage import PriceTable, UsageGroup, UsageKind, UsageRecord, UsageSum

logger = logging.getLogger(__name__)

MOST_WAITING = 100_000  # records, while the database is away; what comes then pushes out the oldest
AT_ONCE = 1000  # records in one transaction


@dataclass(slots=True, kw_only=True)
class RecordUsage:
    """Note what a request used; nobody waits for it to be written.

    Records are written together, some moments later, and all that are left at the end. A process that is killed loses
    those of its last moments (`regularly` says how many), and nothing else. Each has an id, as the word of a commit may
    be lost: what is written again is counted once.
    """

    log: UsageLog
    prices: PriceTable
    now: Clock
    ids: IdSource
    _waiting: deque[UsageRecord] = field(default_factory=lambda: deque(maxlen=MOST_WAITING), init=False)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1), init=False)
    _mine: str = field(init=False)

    def __post_init__(self) -> None:
        """One UUID for all: a random one for each would touch another page of the index with every record."""
        self._mine = self.ids.uuid()

    def __call__(
        self,
        access: Access,
        kind: UsageKind,
        model: str,
        tokens: TokenUsage,
        *,
        is_estimated: bool = False,
        conversation: ConversationId | None = None,
    ) -> None:
        """Never raises. What it costs goes by the prices of this moment."""
        record = UsageRecord(
            id=UsageId(f"{self._mine}:{next(self._numbers)}"),
            owner=access.user,
            at=self.now(),
            kind=kind,
            model=model,
            tokens=tokens,
            is_estimated=is_estimated,
            cost=self.prices.cost(model, tokens),
            key=access.key,
            conversation=conversation,
        )
        self._waiting.append(record)

    def shares(
        self, access: Access, kind: UsageKind, shares: Sequence[Share], *, conversation: ConversationId | None
    ) -> None:
        """The same for an answer that several models may have written."""
        for share in shares:
            self(access, kind, share.model, share.tokens, is_estimated=share.is_estimated, conversation=conversation)

    async def write(self) -> None:
        """What cannot be written now is kept for the next time; a record that never can be is left out, and logged."""
        most = AT_ONCE
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            try:
                await self.log.add(batch)
            except DomainError as error:
                self._put_back(batch)
                logger.warning("the usage of %s requests could not be written: %s", len(self._waiting), error.code)
                return
            except Exception:
                most = max(1, len(batch) // 2)
                if len(batch) > 1:  # one of them must not take the others with it
                    self._put_back(batch)
                else:
                    logger.exception("the usage of a request cannot be written, and is left out: %r", batch[0])
            except BaseException:  # cancelled: it may have been written, and is not counted twice
                self._put_back(batch)
                raise
            else:
                most = min(2 * most, AT_ONCE)

    def _put_back(self, batch: Sequence[UsageRecord]) -> None:
        """Where they were, as far as there is room for them still: what is newer goes first."""
        room = MOST_WAITING - len(self._waiting)
        self._waiting.extendleft(reversed(batch[-room:] if room else []))

    def regularly(self, every: timedelta) -> AbstractAsyncContextManager[None]:
        """Write again and again until the end of the block, and there once more."""
        return written_behind(self.write, every)


@dataclass(frozen=True, slots=True)
class ReportUsage:
    """What a user used, by day, model, key, conversation or kind; also what has not been written yet."""

    log: UsageLog
    record: RecordUsage

    async def __call__(
        self, owner: UserId, by: UsageGroup, *, since: datetime | None = None, until: datetime | None = None
    ) -> Sequence[UsageSum]:
        """From `since` on and before `until`, in the order of the groups."""
        await self.record.write()
        return await self.log.sums(owner, by, since=since, until=until)
