"""What of running answers is durable: what was written so far, and how it ended.

The journal may be away for a while. What could not be stored is kept in memory until it can.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar

from llm_backend.application.ending import PATIENCE_AT_THE_END
from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.application.writing import REASONS, Writing, failed
from llm_backend.domain.answers import AnswerEvent, Failed
from llm_backend.domain.conversations import MessageState
from llm_backend.domain.errors import DatabaseUnavailable, DomainError, ShuttingDown, StorageFull, Unavailable
from llm_backend.domain.ids import AnswerId

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
CHECKPOINTS_AT_ONCE = 100  # answers whose events are encoded before anything else is looked after
KEPT_IN_MEMORY = timedelta(hours=24)  # the text of an answer that no database takes
NEWS = timedelta(seconds=5)  # in which all who were following an answer have heard that its end was not stored
REMEMBERED_TROUBLES = 4096
A_MOMENT = timedelta(seconds=1)  # beyond a patience, to hear what became of it


@dataclass(slots=True, kw_only=True)
class AnswerKeeper:
    """Moves what is written into the journal, again and again and at the end."""

    journal: AnswerJournal
    leases: AnswerLeases
    log: StreamLog
    now: Clock
    monotonic: Callable[[], float]
    patience: timedelta  # how long readers wait for a database that is away at the end
    is_closing: bool = False  # no patience is longer than `PATIENCE_AT_THE_END` then
    _troubles: dict[AnswerId, tuple[DomainError, float]] = field(default_factory=dict)  # and since when, oldest first

    # While it is written ---------------------------------------------------------------------------------------------

    async def keep_up(self, writings: Mapping[AnswerId, Writing], *, every: timedelta) -> None:
        """One ticker for all answers: a timer for each costs more than the checkpoints."""
        while True:
            await asyncio.sleep(every.total_seconds())
            unsaved = [writing for writing in writings.values() if writing.unsaved]
            for first in range(0, len(unsaved), CHECKPOINTS_AT_ONCE):
                self.checkpoint(unsaved[first : first + CHECKPOINTS_AT_ONCE])
                await asyncio.sleep(0)  # the tokens that came meanwhile

    def checkpoint(self, writings: Sequence[Writing]) -> None:
        """Together, as a task and a word to the database for each cost more than the checkpoint."""
        if ready := [writing for writing in writings if writing.saving is None and not writing.is_ending]:
            saving = asyncio.create_task(self._save(ready))
            for writing in ready:
                writing.saving = saving

    async def _save(self, writings: Sequence[Writing]) -> None:
        """Move what is unsaved into the journal. When the journal is away it stays unsaved, for the next time."""
        parts = [writing.unsaved_part() for writing in writings]
        try:
            await self.journal.checkpoint(parts)
        except (Unavailable, StorageFull) as error:
            logger.warning("checkpoints failed: %s", error.code, extra={"answers": [part.answer for part in parts]})
        else:
            for writing, part in zip(writings, parts, strict=True):
                writing.has_saved(part)
        finally:
            for writing in writings:
                writing.saving = None

    # At its end ------------------------------------------------------------------------------------------------------

    async def store(self, writing: Writing, ending: list[AnswerEvent], state: MessageState) -> bool:
        """Store the end of an answer, then tell its readers: what they see as done is durable. False when it turned
        out that this process may not end it any more. Raises `Unavailable` or `StorageFull` after a day of trying."""
        failure = ending[-1] if isinstance(ending[-1], Failed) else None
        if failure and not writing.pieces and failure.code not in REASONS and not writing.is_kept:
            await self._withdraw(writing, ending)
            return True
        writing.is_ending = True
        if writing.saving:
            await asyncio.wait([writing.saving])
        message = writing.message(ending, state, at=self.now())
        events = [*writing.unsaved, *ending]
        finish = partial(self.journal.finish, writing.answer.id, writing.saved + 1, events, message)
        try:
            writing.has_ended = await self._patiently(finish)
        except (Unavailable, StorageFull) as error:
            self.break_off(writing, error)  # the text can wait
            writing.has_ended = await self._patiently(finish, patience=KEPT_IN_MEMORY)
            self.forget_trouble(writing.answer.id)
            return True
        if writing.has_ended:
            self.log.append(writing.answer.id, [*writing.held, *ending])
        return writing.has_ended

    async def _withdraw(self, writing: Writing, ending: list[AnswerEvent]) -> None:
        """Not a word came, so that nothing was asked, either."""
        await self._patiently(self.journal.withdraw, writing.answer.id)
        writing.has_ended = True
        self.log.append(writing.answer.id, ending)

    async def hand_over(self, writing: Writing) -> None:
        """Store what there is, for whoever goes on with it."""
        if not writing.pieces and not writing.is_kept:
            await self._withdraw(writing, [failed(ShuttingDown())])
            return
        writing.is_ending = True
        if writing.saving:
            await asyncio.wait([writing.saving])
        await self._patiently(self.journal.checkpoint, [writing.unsaved_part()])
        await self._patiently(self.leases.release, writing.answer.id)

    # While the database is away --------------------------------------------------------------------------------------

    def break_off(self, writing: Writing, error: DomainError) -> None:
        """Readers need wait no longer, as what they are waiting for cannot be stored now."""
        writing.trouble = error
        self._troubles[writing.answer.id] = error, self.monotonic()
        if len(self._troubles) > REMEMBERED_TROUBLES:
            del self._troubles[next(iter(self._troubles))]
        self.log.close(writing.answer.id)

    def trouble_with(self, answer: AnswerId, *, is_written: bool) -> DomainError | None:
        """Why an answer that was written here has no end that could be stored. Its log is closed without one: told as
        an event, it would have the number of one that is in the journal or will be, and hide that from whoever resumes
        after it. Once nobody writes the answer here any more, old trouble says nothing: others may have it by then."""
        error, since = self._troubles.get(answer, (None, 0.0))
        is_news = is_written or self.monotonic() - since < NEWS.total_seconds()
        return error if is_news else None

    def forget_trouble(self, answer: AnswerId) -> None:
        self._troubles.pop(answer, None)

    async def _patiently(
        self, operation: Callable[..., Awaitable[Result]], *arguments: object, patience: timedelta | None = None
    ) -> Result:
        """Try again while the database is away: the text is still here, and must not be lost for an outage. No attempt
        outlasts the patience by more than a moment, which the last one gets in any case."""
        now = asyncio.get_running_loop().time
        pause, deadline = 0.1, now() + (patience or self.patience).total_seconds()
        while True:
            trouble: Unavailable | StorageFull
            try:
                async with asyncio.timeout_at(max(deadline, now() + A_MOMENT.total_seconds())):
                    return await operation(*arguments)
            except (Unavailable, StorageFull) as error:
                trouble = error
            except TimeoutError:
                trouble = DatabaseUnavailable()
            if self.is_closing:
                deadline = min(deadline, now() + PATIENCE_AT_THE_END.total_seconds())
            if now() + pause > deadline:
                raise trouble
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)
