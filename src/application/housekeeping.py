"""What has to be done from time to time, and once at the start, so that nothing piles up or stays half done."""

import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

from llm_backend.application.files import SweepFiles
from llm_backend.application.indexing import OptimizeIndex
from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.reindexing import SweepReindexings
from llm_backend.application.repeating import repeated
from llm_backend.application.sweeping import SweepDocuments
from llm_backend.application.vector_stores import SweepVectorStores
from llm_backend.domain.errors import DomainError

logger = logging.getLogger(__name__)

DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class KeepHouse:
    """Finish what a crash cut off and forget what has expired. May run at any time and as often as one likes."""

    transactions: UnitOfWorkFactory
    journal: AnswerJournal
    sweep_documents: SweepDocuments
    sweep_reindexings: SweepReindexings
    sweep_files: SweepFiles
    sweep_vector_stores: SweepVectorStores
    optimize_index: OptimizeIndex
    now: Clock
    events_kept_for: timedelta = DAY  # of ended answers, for readers who come back late
    idempotency_kept_for: timedelta = DAY
    places_kept_for: timedelta = DAY  # of deleted things, for those who page by them

    async def __call__(self) -> None:
        """A part that fails is logged and left for the next time."""
        for part in (
            self._forget,
            self.sweep_documents,
            self.sweep_reindexings,
            self.sweep_files,
            self.sweep_vector_stores,
            self.optimize_index,
        ):
            try:
                await part()
            except DomainError as error:
                logger.warning("housekeeping was put off: %s", error.code)
            except Exception:
                logger.exception("housekeeping failed")

    async def _forget(self) -> None:
        now = self.now()
        await self.journal.forget_events_before(now - self.events_kept_for)
        async with self.transactions() as work:
            await work.revocations.forget_expired(now - DAY)  # a clock that jumps ahead must not revive a token
            await work.idempotency.forget_before(now - self.idempotency_kept_for)
            await work.deleted_places.forget(now=now, kept_for=self.places_kept_for)
            await work.commit()

    def regularly(self, every: timedelta) -> AbstractAsyncContextManager[None]:
        """Once at the start of the block, then again and again until its end."""
        return repeated(self, every, name="housekeeping")
