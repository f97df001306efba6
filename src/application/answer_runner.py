"""The life of a running answer: it belongs to the server, not to the socket that asked for it.

Each answer is written by a task of its own into the stream log, where its readers follow it, and from there into the
journal: what readers have seen for half a second is durable, and an answer is announced as done only when it is stored.

Long because: it is one life, and each of its ends has to know of the others.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Self

from llm_backend.application.answer_keeping import A_MOMENT, AnswerKeeper
from llm_backend.application.ending import PATIENCE_AT_THE_END, ended
from llm_backend.application.ports.answer_journal import AnswerJournal, NumberedEvent, Turn
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.application.ports.chat_model import ChatModel, ChatRequest
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.application.usage import RecordUsage
from llm_backend.application.writing import HANDED_OVER, LOST, Writing, failed
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
    DomainError,
    ShuttingDown,
    StorageFull,
    Unavailable,
)
from llm_backend.domain.ids import AnswerId, ApiKeyId, ConversationId, UserId
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.usage import UsageKind

logger = logging.getLogger(__name__)

REMEMBERED_ANSWERS = 4096
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
    store_patience: timedelta = timedelta(seconds=30)  # as `AnswerKeeper.patience`
    grace: timedelta = timedelta(seconds=30)  # how long running answers may go on at shutdown
    hands_over: bool = False  # what is left then goes on in another process, if there may be one
    heed_every: timedelta = timedelta(seconds=0.5)  # how often to look at what others want of the answers written here
    monotonic: Callable[[], float] = time.monotonic
    alive_at: Callable[[], float] = lambda: math.inf  # when others last had a sign of life of this process
    keeper: AnswerKeeper = field(init=False)
    _writing: dict[AnswerId, Writing] = field(default_factory=dict)
    _recent: dict[AnswerId, Answer] = field(default_factory=dict)  # oldest first
    _tickers: "list[asyncio.Task[None]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keeper = AnswerKeeper(
            journal=self.journal,
            leases=self.leases,
            log=self.log,
            now=self.now,
            patience=self.store_patience,
            monotonic=self.monotonic,
        )

    async def __aenter__(self) -> Self:
        self._tickers = [
            asyncio.create_task(self.keeper.keep_up(self._writing, every=self.checkpoint_every), name="checkpoints"),
            asyncio.create_task(self._heed(), name="wishes for answers"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()
        await ended(*self._tickers)

    # What others ask of it -------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises `ShuttingDown` once `drain` has begun."""
        if self.keeper.is_closing:
            raise ShuttingDown

    async def begin(self, turn: Turn, request: ChatRequest) -> AnswerId:
        """Store the question and start to write its answer; its log can be followed when this returns.

        Returns and raises what `AnswerJournal.begin` does. Once called it runs its course, even if the caller is
        cancelled: there is no moment in which the answer is open in the journal and nobody writes it.
        """
        self.check_open()
        begun: asyncio.Future[AnswerId] = asyncio.get_running_loop().create_future()
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
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(_unheard)
            raise

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
        if self.keeper.is_closing:
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
        return self.keeper.is_closing

    def is_writing(self, answer: AnswerId) -> bool:
        return answer in self._writing

    def owner_of(self, answer: AnswerId) -> UserId | None:
        """Whose answer this is, if it is being written here or was not long ago.

        Also of those that were taken back: whoever asked is about to read why.
        """
        recent = self._recent.get(answer)
        return recent.owner if recent else None

    def trouble_with(self, answer: AnswerId) -> DomainError | None:
        """As `AnswerKeeper.trouble_with`."""
        return self.keeper.trouble_with(answer, is_written=self.is_writing(answer))

    def count(self, owner: UserId) -> int:
        """How many answers are being written for one user."""
        return sum(writing.answer.owner == owner for writing in self._writing.values())

    async def stop(self, answer: AnswerId) -> bool:
        """End an answer where it is and wait until its text is stored. False when it did not end here: it is written
        elsewhere, or goes on there.

        Raises `Unavailable` or `StorageFull` when the text cannot be stored for longer than the keeper's patience; it
        is kept, and stored when that is possible again.
        """
        writing = self._writing.get(answer)
        if writing is None:
            return False
        await self._cut_short([writing], STOPPED, patience=self.keeper.patience + A_MOMENT)
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
        await self._cut_short(gone, STOPPED, patience=self.keeper.patience + A_MOMENT)

    async def drain(self) -> None:
        """Take no more answers, let the running ones go on for `grace`, then store what there is of the rest and hand
        it over, or close it. What the database does not take then within `PATIENCE_AT_THE_END` is left as it is there,
        to whoever finds it."""
        grace = timedelta(0) if self.keeper.is_closing else self.grace
        self.keeper.is_closing = True
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

    def _remember(self, answer: Answer) -> None:
        self.keeper.forget_trouble(answer.id)
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
                await self.keeper.hand_over(writing)
            elif not await self.keeper.store(writing, ending, state):
                await self._give_up(writing)
        except Exception as error:
            logger.exception("an answer could not be stored", extra={"answer": writing.answer.id})
            self.keeper.break_off(writing, error if isinstance(error, DomainError) else Unavailable())
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
            self.keeper.checkpoint([writing])

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

    # What others want of it -------------------------------------------------------------------------------------------

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


def _unheard(begun: "asyncio.Future[AnswerId]") -> None:
    """A refusal is no news to a caller who has gone; anything else has to be told somewhere."""
    error = None if begun.cancelled() else begun.exception()
    if error is not None and not isinstance(error, DomainError):
        logger.error("a question could not be stored, and nobody waits for it", exc_info=error)
