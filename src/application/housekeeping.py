"""What has to be done from time to time, and once at the start, so that nothing piles up or stays half done."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from llm_backend.application.answering import CloseInterruptedAnswers
from llm_backend.application.indexing import SweepDocuments
from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.domain.errors import DomainError

logger = logging.getLogger(__name__)

KEPT_FOR = timedelta(hours=24)  # idempotency records, and the events of answers for those who come back late


@dataclass(frozen=True, slots=True)
class KeepHouse:
    """Finish what a crash cut off and forget what has expired. May run at any time and as often as one likes."""

    transactions: UnitOfWorkFactory
    journal: AnswerJournal
    close_interrupted: CloseInterruptedAnswers
    sweep_documents: SweepDocuments
    now: Clock

    async def __call__(self) -> None:
        """A part that fails is logged and left for the next time."""
        for part in (self.close_interrupted, self._forget, self.sweep_documents):
            try:
                await part()
            except DomainError as error:
                logger.warning("housekeeping was put off: %s", error.code)
            except Exception:
                logger.exception("housekeeping failed")

    async def _forget(self) -> None:
        now = self.now()
        await self.journal.forget_events_before(now - KEPT_FOR)
        async with self.transactions() as work:
            await work.revocations.forget_expired(now)
            await work.idempotency.forget_before(now - KEPT_FOR)
            await work.commit()
