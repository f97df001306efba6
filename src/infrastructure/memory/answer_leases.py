"""Who writes which answer, in memory: for tests of several processes in one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llm_backend.application.ports.answer_leases import OpenAnswer
from llm_backend.domain.ids import AnswerId, WriterId
from llm_backend.infrastructure.memory.tables import AnswerRow, Committed


@dataclass(frozen=True, slots=True)
class MemoryAnswerLeases:
    """`AnswerLeases`."""

    place: Committed
    me: WriterId

    async def beat(self) -> Mapping[WriterId, int]:
        async with self.place.lock:
            beats = self.place.tables.beats
            beats[self.me] = beats.get(self.me, 0) + 1
            return dict(beats)

    async def leave(self, writer: WriterId) -> None:
        async with self.place.lock:
            self.place.tables.beats.pop(writer, None)

    async def open_answers(self) -> Sequence[OpenAnswer]:
        tables = self.place.tables
        return [
            OpenAnswer(
                answer=row.answer,
                model=tables.conversations[row.answer.conversation].model,
                writer=row.writer,
                takeovers=row.takeovers,
                wanted_to_stop=row.stop_wanted,
                grounding=row.grounding,
                key=row.key,
            )
            for row in self._open()
        ]

    async def mine(self) -> Mapping[AnswerId, bool]:
        return {row.answer.id: row.stop_wanted for row in self._open() if row.writer == self.me}

    async def take_over(
        self, answer: AnswerId, held_by: WriterId | None, *, last_beat: int | None = None
    ) -> int | None:
        async with self.place.lock:
            row = self._find(answer)
            if row is None or row.writer != held_by:
                return None
            if held_by and last_beat is not None and self.place.tables.beats.get(held_by, last_beat) != last_beat:
                return None
            self._put(replace(row, writer=self.me, takeovers=row.takeovers + 1))
            return row.takeovers + 1

    async def release(self, answer: AnswerId) -> None:
        async with self.place.lock:
            row = self._find(answer)
            if row is not None and row.writer == self.me:
                self._put(replace(row, writer=None))

    async def want_stop(self, answer: AnswerId) -> None:
        async with self.place.lock:
            row = self._find(answer)
            if row is not None:
                self._put(replace(row, stop_wanted=True))

    def _open(self) -> Sequence[AnswerRow]:
        return [row for row in self.place.tables.answers.values() if row.ended_at is None]

    def _find(self, answer: AnswerId) -> AnswerRow | None:
        return next((row for row in self._open() if row.answer.id == answer), None)

    def _put(self, row: AnswerRow) -> None:
        self.place.tables.answers[row.answer.id] = row
