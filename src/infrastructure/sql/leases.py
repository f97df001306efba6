"""Who writes which answer, in SQL."""

from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, Text, and_, bindparam, delete, select, true, update

from llm_backend.application.ports.answer_leases import OpenAnswer
from llm_backend.domain.ids import AnswerId, WriterId
from llm_backend.infrastructure.sql.dialects import upsert
from llm_backend.infrastructure.sql.mapping import OPEN_ANSWER_COLUMNS, open_answer_from
from llm_backend.infrastructure.sql.ports import Reader, Steps, Writer
from llm_backend.infrastructure.sql.rows import RUNNING, answers, conversations, writers
from llm_backend.infrastructure.sql.statements import Query

_ANSWER = bindparam("answer", type_=BigInteger)
_ME = bindparam("me", type_=Text)
_HOLDER = bindparam("holder", type_=Text)

_IS_OPEN = and_(answers.c.id == _ANSWER, answers.c.state == RUNNING)
_IS_MINE = and_(answers.c.writer == _ME, answers.c.state == RUNNING)

_FIRST_BEAT = upsert(writers).values(id=_ME, beat=1)
_BEAT = _FIRST_BEAT.on_conflict_do_update(index_elements=["id"], set_={"beat": writers.c.beat + 1})
_BEATS = select(writers.c.id, writers.c.beat)
# Held until the answer is taken, so that who seemed dead learns of it before it takes itself for alive again.
_HOLD_BEAT = select(writers.c.beat).where(writers.c.id == _HOLDER).with_for_update()
_LEAVE = delete(writers).where(writers.c.id == _HOLDER)

_OPEN = (
    select(*OPEN_ANSWER_COLUMNS)
    .join(conversations, conversations.c.id == answers.c.conversation_id)
    .where(answers.c.state == RUNNING)
)
_MINE = select(answers.c.id, answers.c.stop_wanted).where(_IS_MINE)
_TAKEN = {"writer": _ME, "takeovers": answers.c.takeovers + 1}
_TAKE_FROM = update(answers).where(_IS_OPEN, answers.c.writer == _HOLDER).values(_TAKEN)
_TAKE_UP = update(answers).where(_IS_OPEN, answers.c.writer.is_(None)).values(_TAKEN)
_TAKEOVERS = select(answers.c.takeovers).where(answers.c.id == _ANSWER)
_RELEASE = update(answers).where(_IS_OPEN, answers.c.writer == _ME).values(writer=None)
_WANT_STOP = update(answers).where(_IS_OPEN).values(stop_wanted=true())


class SqlAnswerLeases:
    """`AnswerLeases`. Signs of life, and whether an answer is still ours, are read by `reserved`, if there is one: the
    reads of clients may be slow, and meanwhile every stream would fall silent and this process look dead."""

    def __init__(self, reader: Reader, writer: Writer, me: WriterId, *, reserved: Reader | None = None) -> None:
        self.me = me
        self._reader = reader
        self._reserved = reserved or reader
        self._writer = writer
        self._beat = writer.prepare(_BEAT)
        self._hold_beat = writer.prepare(_HOLD_BEAT)
        self._leave = writer.prepare(_LEAVE)
        self._take_from = writer.prepare(_TAKE_FROM)
        self._take_up = writer.prepare(_TAKE_UP)
        self._takeovers = writer.prepare(_TAKEOVERS)
        self._release = writer.prepare(_RELEASE)
        self._want_stop = writer.prepare(_WANT_STOP)
        self._beats = self._reserved.prepare(_BEATS)
        self._open = reader.prepare(_OPEN)
        self._mine = self._reserved.prepare(_MINE)

    async def beat(self) -> Mapping[WriterId, int]:
        await self._writer.write_one(Query(self._beat, {"me": self.me}))
        (found,) = await self._reserved.fetch(Query(self._beats))
        return {WriterId(writer): beat for writer, beat in found}

    async def leave(self, writer: WriterId) -> None:
        await self._writer.write_one(Query(self._leave, {"holder": writer}))

    async def open_answers(self) -> Sequence[OpenAnswer]:
        (found,) = await self._reader.fetch(Query(self._open))
        return [open_answer_from(row) for row in found]

    async def mine(self) -> Mapping[AnswerId, bool]:
        (found,) = await self._reserved.fetch(Query(self._mine, {"me": self.me}))
        return {AnswerId(answer): bool(stop) for answer, stop in found}

    async def take_over(
        self, answer: AnswerId, held_by: WriterId | None, *, last_beat: int | None = None
    ) -> int | None:
        return await self._writer.write(lambda: self._taking(answer, held_by, last_beat))

    def _taking(self, answer: AnswerId, held_by: WriterId | None, last_beat: int | None) -> Steps[int | None]:
        if last_beat is not None:
            beats = yield Query(self._hold_beat, {"holder": held_by})
            if [beat for (beat,) in beats.rows] not in ([], [last_beat]):
                return None
        statement = self._take_up if held_by is None else self._take_from
        taken = yield Query(statement, {"answer": answer, "me": self.me, "holder": held_by})
        if not taken.changed:
            return None
        found = yield Query(self._takeovers, {"answer": answer})
        takeovers: int = found.rows[0][0]
        return takeovers

    async def release(self, answer: AnswerId) -> None:
        await self._writer.write_one(Query(self._release, {"answer": answer, "me": self.me}))

    async def want_stop(self, answer: AnswerId) -> None:
        await self._writer.write_one(Query(self._want_stop, {"answer": answer}))
