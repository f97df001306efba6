"""The life of a running answer: it belongs to the server, not to the socket that asked for it.

Each answer is written by a task of its own into the stream log, where its readers follow it, and from there into the
journal: what readers have seen for half a second is durable, and an answer is announced as done only when it is stored.

Long because: it is one life, and each of its ends has to know of the others.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Self, TypeVar

from llm_backend.application.ending import PATIENCE_AT_THE_END, ended
from llm_backend.application.ports.answer_journal import AnswerJournal, NumberedEvent, Turn
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.application.ports.chat_model import ChatModel, ChatRequest
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.application.usage import RecordUsage
from llm_backend.application.writing import HANDED_OVER, LOST, REASONS, Writing, failed
from llm_backend.domain.answers import (
    INTERRUPTED,
    LONGEST_ANSWER,
    STOPPED,
    Answer,
    AnswerEvent,
    CallPiece,
    Continued,
    Delta,
    Failed,
)
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import MessageState, Seam
from llm_backend.domain.errors import (
    AnswerNotFound,
    AnswerTooLong,
    ConversationNotFound,
    DatabaseUnavailable,
    DomainError,
    ShuttingDown,
    StorageFull,
    Unavailable,
)
from llm_backend.domain.ids import AnswerId, ApiKeyId, ConversationId, UserId
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.usage import UsageKind

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
REMEMBERED_ANSWERS = 4096
CHECKPOINTS_AT_ONCE = 100  # answers whose events are encoded before anything else is looked after
KEPT_IN_MEMORY = timedelta(hours=24)  # the text of an answer that no database takes
NEWS = timedelta(seconds=5)  # in which all who were following an answer have heard that its end was not stored
A_MOMENT = timedelta(seconds=1)  # beyond a patience, to hear what became of it
# Where answers can be taken over, nothing more is told of one that this process has not known to hold for that long, or
# once its last sign of life is that old: two thirds of the time after which others take it for dead (see `heartbeat`).
SURE_FOR = timedelta(seconds=10)


@dataclass(slots=True, kw_only=True)
class AnswerRunner:
    """Writes answers, each in its own task. `async with` it: at the end every answer is closed and stored."""

    model: ChatModel
    journal: AnswerJournal
    leases: AnswerLeases
    log: StreamLog
    now: Clock
    record: RecordUsage
    checkpoint_every: timedelta = timedelta(seconds=0.5)
    checkpoint_size: int = 2048  # characters
    store_patience: timedelta = timedelta(seconds=30)  # how long readers wait for a database that is away at the end
    grace: timedelta = timedelta(seconds=30)  # how long running answers may go on at shutdown
    hands_over: bool = False  # what is left then goes on in another process, if there may be one
    heed_every: timedelta = timedelta(seconds=0.5)  # how often to look at what others want of the answers written here
    monotonic: Callable[[], float] = time.monotonic
    alive_at: Callable[[], float] = lambda: math.inf  # when others last had a sign of life of this process
    _writing: dict[AnswerId, Writing] = field(default_factory=dict)
    _recent: dict[AnswerId, Answer] = field(default_factory=dict)  # oldest first
    _troubles: dict[AnswerId, tuple[DomainError, float]] = field(default_factory=dict)  # and since when
    _tickers: "list[asyncio.Task[None]]" = field(default_factory=list)
    _closing: bool = False

    async def __aenter__(self) -> Self:
        self._tickers = [
            asyncio.create_task(self._tick(), name="answer checkpoints"),
            asyncio.create_task(self._heed(), name="wishes for answers"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()
        await ended(*self._tickers)

    # What others ask of it -------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises `ShuttingDown` once `drain` has begun."""
        if self._closing:
            raise ShuttingDown

    async def begin(self, turn: Turn, request: ChatRequest) -> AnswerId:
        """Store the question and start to write its answer; its log can be followed when this returns.

        Returns and raises what `AnswerJournal.begin` does. Once called it runs its course, even if the caller is
        cancelled: there is no moment in which the answer is open in the journal and nobody writes it.
        """
        self.check_open()
        begun: asyncio.Future[AnswerId] = asyncio.get_running_loop().create_future()
        begun.add_done_callback(_is_heard)
        writing = Writing(
            answer=turn.answer,
            request=request,
            grounding=turn.grounding,
            kind=turn.kind,
            key=turn.key,
            is_kept=turn.response is not None and turn.response.background,
        )
        self._writing[turn.answer.id] = writing
        writing.task = asyncio.create_task(self._live(writing, turn, begun), name=f"answer {turn.answer.id}")
        return await asyncio.shield(begun)

    def take_up(
        self,
        answer: Answer,
        request: ChatRequest,
        events: Sequence[NumberedEvent],
        grounding: Grounding | None = None,
        *,
        after: int,
        kind: UsageKind = UsageKind.ANSWER,
        key: ApiKeyId | None = None,
    ) -> bool:
        """Go on with an answer that this process has taken over; False once `drain` has begun. `events` are all that
        is in the journal, and `request.so_far` is their text. What comes now is numbered from `after` + 1 on, where
        nobody else has been."""
        if self._closing:
            return False
        writing = Writing(
            answer=answer,
            request=request,
            grounding=grounding,
            kind=kind,
            key=key,
            pieces=[request.so_far],
            length=len(request.so_far),
            seams=[event.seam for _, event in events if isinstance(event, Continued)],
            saved=after,
            broken_at=len(request.so_far) or None,
        )
        self._writing[answer.id] = writing
        writing.task = asyncio.create_task(self._go_on(writing, after), name=f"answer {answer.id}")
        return True

    @property
    def is_closing(self) -> bool:
        """Whether `drain` has begun."""
        return self._closing

    def is_writing(self, answer: AnswerId) -> bool:
        return answer in self._writing

    def owner_of(self, answer: AnswerId) -> UserId | None:
        """Whose answer this is, if it is being written here or was not long ago.

        Also of those that were taken back: whoever asked is about to read why.
        """
        recent = self._recent.get(answer)
        return recent.owner if recent else None

    def trouble_with(self, answer: AnswerId) -> DomainError | None:
        """Why an answer that was written here has no end that could be stored. Its log is closed without one: told as
        an event, it would have the number of one that is in the journal or will be, and hide that from whoever resumes
        after it. Once nobody writes the answer here any more, old trouble says nothing: others may have it by then."""
        error, since = self._troubles.get(answer, (None, 0.0))
        is_news = self.is_writing(answer) or self.monotonic() - since < NEWS.total_seconds()
        return error if is_news else None

    def count(self, owner: UserId) -> int:
        """How many answers are being written for one user."""
        return sum(writing.answer.owner == owner for writing in self._writing.values())

    async def stop(self, answer: AnswerId) -> bool:
        """End an answer where it is and wait until its text is stored. False when it did not end here: it is written
        elsewhere, or goes on there.

        Raises `Unavailable` or `StorageFull` when the text cannot be stored for longer than `store_patience`; it is
        kept, and stored when that is possible again.
        """
        writing = self._writing.get(answer)
        if writing is None:
            return False
        await self._cut_short([writing], STOPPED, patience=self.store_patience + A_MOMENT)
        if writing.task and not writing.task.done():
            raise writing.trouble or Unavailable
        return writing.has_ended

    def stop_soon(self, answer: AnswerId) -> None:
        """The same without waiting, for a wish that comes from elsewhere."""
        if writing := self._writing.get(answer):
            writing.cut(STOPPED)

    async def abandon(self, conversation: ConversationId) -> None:
        """Give up whatever is being written in a conversation that is gone."""
        self._recent = {key: answer for key, answer in self._recent.items() if answer.conversation != conversation}
        gone = [writing for writing in self._writing.values() if writing.answer.conversation == conversation]
        await self._cut_short(gone, STOPPED, patience=self.store_patience + A_MOMENT)

    async def drain(self) -> None:
        """Take no more answers, let the running ones go on for `grace`, then store what there is of the rest and hand
        it over, or close it. What the database does not take then within `PATIENCE_AT_THE_END` is left as it is there,
        to whoever finds it."""
        grace = timedelta(0) if self._closing else self.grace
        self._closing = True
        if tasks := [writing.task for writing in self._writing.values() if writing.task]:
            await asyncio.wait(tasks, timeout=grace.total_seconds())
        reason = HANDED_OVER if self.hands_over else INTERRUPTED
        await self._cut_short(list(self._writing.values()), reason, patience=PATIENCE_AT_THE_END + A_MOMENT)
        if left := {writing.answer.id: writing.task for writing in self._writing.values() if writing.task}:
            logger.error("the ends of answers could not be stored in time", extra={"answers": list(left)})
            await ended(*left.values())

    async def _cut_short(self, writings: Sequence[Writing], reason: str, *, patience: timedelta | None = None) -> None:
        for writing in writings:
            writing.cut(reason)
        if tasks := [writing.task for writing in writings if writing.task]:
            await asyncio.wait(tasks, timeout=None if patience is None else patience.total_seconds())

    # One answer ------------------------------------------------------------------------------------------------------

    async def _live(self, writing: Writing, turn: Turn, begun: "asyncio.Future[AnswerId]") -> None:
        """From the question to the stored answer. Whoever finds the answer in the journal finds its log open here."""
        answer = turn.answer.id
        self.log.open(answer)
        self._remember(turn.answer)
        try:
            number = await self.journal.begin(turn)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            await self._take_back(answer, error)
            begun.set_exception(error)
        else:
            self._be_sure_of(writing)
            begun.set_result(number)
            if number == answer:
                await self._write(writing)
        finally:
            if not begun.done():  # cut off, and nobody knows how far it came
                begun.set_exception(ShuttingDown())
            self.log.close(answer)
            del self._writing[answer]

    async def _go_on(self, writing: Writing, after: int) -> None:
        answer = writing.answer.id
        self._be_sure_of(writing)
        try:
            self.log.open(answer, after=after)
            self._remember(writing.answer)
            await self._write(writing)
        finally:
            self.log.close(answer)
            del self._writing[answer]

    async def _take_back(self, answer: AnswerId, error: Exception) -> None:
        """The caller hears that nothing was begun: see to it before that nothing was, as only the word may have been
        lost. What cannot be taken back now stays, and is answered when the database is back."""
        self._recent.pop(answer, None)
        if isinstance(error, Unavailable | StorageFull):
            try:
                await self.journal.withdraw(answer)
            except (Unavailable, StorageFull):
                logger.warning("a question may have been stored all the same", extra={"answer": answer})

    def _break_off(self, writing: Writing, error: DomainError) -> None:
        """Readers need wait no longer, as what they are waiting for cannot be stored now."""
        writing.trouble = error
        self._troubles[writing.answer.id] = error, self.monotonic()
        if len(self._troubles) > REMEMBERED_ANSWERS:
            del self._troubles[next(iter(self._troubles))]
        self.log.close(writing.answer.id)

    def _remember(self, answer: Answer) -> None:
        self._troubles.pop(answer.id, None)
        self._recent[answer.id] = answer
        if len(self._recent) > REMEMBERED_ANSWERS:
            del self._recent[next(iter(self._recent))]

    async def _write(self, writing: Writing) -> None:
        """Never raises: whatever happens, the log gets its last event, or readers hear of the trouble."""
        try:
            ending, state = await self._ask_model(writing)
            if state is MessageState.INCOMPLETE and writing.cut_short == LOST:
                await self._give_up(writing)
            elif state is MessageState.INCOMPLETE and writing.cut_short == HANDED_OVER:
                await self._hand_over(writing)
            else:
                await self._store(writing, ending, state)
        except Exception as error:
            logger.exception("an answer could not be stored", extra={"answer": writing.answer.id})
            self._break_off(writing, error if isinstance(error, DomainError) else Unavailable())
        if writing.has_ended:
            self._charge(writing)

    async def _ask_model(self, writing: Writing) -> tuple[list[AnswerEvent], MessageState]:
        """Let the model write; return the events that end the answer, however it ended."""
        if writing.cut_short:
            return [writing.broken_off()], MessageState.INCOMPLETE
        writing.asking = True
        try:
            emit = self._emit if writing.broken_at is None else self._emit_behind_a_break
            completion = await self.model.answer(writing.request, partial(emit, writing))
        except asyncio.CancelledError:
            return [writing.broken_off()], MessageState.INCOMPLETE
        except DomainError as error:
            return [failed(error)], MessageState.INCOMPLETE
        except Exception:
            logger.exception("a model failed unexpectedly", extra={"answer": writing.answer.id})
            return [Failed("internal_error", "The answer could not be completed")], MessageState.INCOMPLETE
        finally:
            writing.asking = False
            while writing.task and writing.task.cancelling():  # it was heeded; what is left goes on as in any task
                writing.task.uncancel()
        return writing.ending(completion, at=self.now()), MessageState.COMPLETE

    def _emit(self, writing: Writing, deltas: Sequence[Delta]) -> None:
        """The hot path: called once per read from the provider, with all that came in it."""
        text = deltas[0].text if len(deltas) == 1 else "".join([delta.text for delta in deltas])
        length = len(text)
        if writing.length + length > LONGEST_ANSWER:
            raise AnswerTooLong
        writing.length += length
        writing.pieces.append(text)
        if type(deltas[0]) is not Delta or writing.outline:
            writing.note(deltas)
        writing.unsaved += deltas
        writing.unsaved_length += length
        if self.hands_over and (writing.held or self.monotonic() > writing.sure_until):
            writing.held += deltas
        else:
            self.log.append(writing.answer.id, deltas)
        if writing.unsaved_length >= self.checkpoint_size:
            self._checkpoint([writing])

    def _emit_behind_a_break(self, writing: Writing, deltas: Sequence[Delta]) -> None:
        """Say where this process went on in the place of one that is gone."""
        if writing.broken_at is not None:
            first, *rest = deltas
            if isinstance(first, CallPiece):
                self._emit(writing, deltas)
                return
            seam = Seam(at=writing.broken_at, model=writing.request.model, reason=INTERRUPTED)
            deltas = deltas if isinstance(first, Continued) else [Continued(first.text, seam), *rest]
            writing.broken_at = None
        self._emit(writing, deltas)

    # Making it durable -----------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """One ticker for all answers: a timer for each costs more than the checkpoints."""
        while True:
            await asyncio.sleep(self.checkpoint_every.total_seconds())
            writings = [writing for writing in self._writing.values() if writing.unsaved]
            for first in range(0, len(writings), CHECKPOINTS_AT_ONCE):
                self._checkpoint(writings[first : first + CHECKPOINTS_AT_ONCE])
                await asyncio.sleep(0)  # the tokens that came meanwhile

    async def _heed(self) -> None:
        """Others cannot reach in here: they leave word in the database of what they want stopped or have taken."""
        while True:
            await asyncio.sleep(self.heed_every.total_seconds())
            if asking := [writing for writing in self._writing.values() if writing.asking]:
                try:
                    await self._heed_now(asking)
                except (Unavailable, StorageFull):
                    pass  # nobody can have taken anything, either; not for a while
                except Exception:
                    logger.exception("what is wanted of answers could not be found out")

    async def _heed_now(self, asking: Sequence[Writing]) -> None:
        now = self.monotonic()
        mine = await self.leases.mine()
        for writing in asking:
            if mine.get(writing.answer.id, True):
                if writing.asking:
                    writing.cut(STOPPED if writing.answer.id in mine else LOST)
            elif writing.asking:
                self._be_sure_of(writing, since=now)

    def _be_sure_of(self, writing: Writing, *, since: float | None = None) -> None:
        """The answer is held by this process: what was kept back while that was unknown may be told, unless others are
        about to take it. Who seems dead to them may well be able to look."""
        now = self.monotonic()
        writing.sure_until = min(now if since is None else since, self.alive_at()) + SURE_FOR.total_seconds()
        if writing.held and now <= writing.sure_until:
            held, writing.held = writing.held, []
            self.log.append(writing.answer.id, held)

    def _checkpoint(self, writings: Sequence[Writing]) -> None:
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

    async def _store(self, writing: Writing, ending: list[AnswerEvent], state: MessageState) -> None:
        """Store the end of an answer, then tell its readers: what they see as done is durable."""
        failure = ending[-1] if isinstance(ending[-1], Failed) else None
        if failure and not writing.pieces and failure.code not in REASONS and not writing.is_kept:
            await self._withdraw(writing, ending)
            return
        writing.is_ending = True
        if writing.saving:
            await asyncio.wait([writing.saving])
        message = writing.message(ending, state, at=self.now())
        events = [*writing.unsaved, *ending]
        finish = partial(self.journal.finish, writing.answer.id, writing.saved + 1, events, message)
        try:
            writing.has_ended = await self._patiently(finish)
        except (Unavailable, StorageFull) as error:
            self._break_off(writing, error)  # the text can wait
            writing.has_ended = await self._patiently(finish, patience=KEPT_IN_MEMORY)
            self._troubles.pop(writing.answer.id, None)
            return
        if writing.has_ended:
            self.log.append(writing.answer.id, [*writing.held, *ending])
        else:
            await self._give_up(writing)

    async def _withdraw(self, writing: Writing, ending: list[AnswerEvent]) -> None:
        """Not a word came, so that nothing was asked, either."""
        await self._patiently(self.journal.withdraw, writing.answer.id)
        writing.has_ended = True
        self.log.append(writing.answer.id, ending)

    async def _hand_over(self, writing: Writing) -> None:
        if not writing.pieces and not writing.is_kept:
            await self._withdraw(writing, [failed(ShuttingDown())])
            return
        writing.is_ending = True
        if writing.saving:
            await asyncio.wait([writing.saving])
        await self._patiently(self.journal.checkpoint, [writing.unsaved_part()])
        await self._patiently(self.leases.release, writing.answer.id)

    async def _give_up(self, writing: Writing) -> None:
        """Readers go on with whoever has it now, unless nobody has, as its conversation is gone."""
        writing.is_ending = True
        try:
            await self.journal.find(writing.answer.owner, writing.answer.id)
        except AnswerNotFound:
            self.log.append(writing.answer.id, [failed(ConversationNotFound())])
            self._charge(writing)

    def _charge(self, writing: Writing) -> None:
        """Whoever brings an answer to its end accounts for all of it, also for what others wrote who are gone."""
        answer = writing.answer
        access = Access(user=answer.owner, key=writing.key)
        self.record.shares(access, writing.kind, writing.shares(), conversation=answer.conversation)

    async def _patiently(
        self, operation: Callable[..., Awaitable[Result]], *arguments: object, patience: timedelta | None = None
    ) -> Result:
        """Try again while the database is away: the text is still here, and must not be lost for an outage. No attempt
        outlasts the patience by more than a moment, which the last one gets in any case."""
        now = asyncio.get_running_loop().time
        pause, deadline = 0.1, now() + (patience or self.store_patience).total_seconds()
        while True:
            trouble: Unavailable | StorageFull
            try:
                async with asyncio.timeout_at(max(deadline, now() + A_MOMENT.total_seconds())):
                    return await operation(*arguments)
            except (Unavailable, StorageFull) as error:
                trouble = error
            except TimeoutError:
                trouble = DatabaseUnavailable()
            if self._closing:
                deadline = min(deadline, now() + PATIENCE_AT_THE_END.total_seconds())
            if now() + pause > deadline:
                raise trouble
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)


def _is_heard(begun: "asyncio.Future[AnswerId]") -> None:
    """An error is no news to a caller who has gone, and nothing to complain of in the log."""
    if not begun.cancelled():
        begun.exception()
