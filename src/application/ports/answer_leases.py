"""Who writes which answer: what replicas need to know of each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_backend.domain.answers import Answer
from llm_backend.domain.ids import AnswerId, ApiKeyId, WriterId
from llm_backend.domain.prompting import Grounding


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAnswer:
    """An answer that has not ended, and what it takes to go on with it.

    `writer` is the process that holds it, or nobody, once that has let go of it. `takeovers` counts how often it
    changed hands. `key` is that which is charged, if any.
    """

    answer: Answer
    model: str
    writer: WriterId | None
    takeovers: int = 0
    wanted_to_stop: bool = False
    grounding: Grounding | None = None
    key: ApiKeyId | None = None


class AnswerLeases(Protocol):
    """Each process holds the answers that it began or took over, for as long as it gives signs of life.

    No clocks are compared: a sign of life is a count that goes on rising, and how long it has stood still is for the
    one who looks to measure. Whoever loses a lease can write no more to the answer (see `AnswerJournal`). An instance
    belongs to one process and calls it by `me`. Every method may raise `DatabaseUnavailable` or `StorageFull`, and may
    then be called again.
    """

    @property
    def me(self) -> WriterId: ...

    async def beat(self) -> Mapping[WriterId, int]:
        """Give a sign of life; return the latest of everybody."""

    async def leave(self, writer: WriterId) -> None:
        """Forget a process that has ended. It counts as new if it gives another sign of life."""

    async def open_answers(self) -> Sequence[OpenAnswer]:
        """All that have not ended, whoever holds them."""

    async def mine(self) -> Mapping[AnswerId, bool]:
        """The open answers that I hold, and whether each is wanted to stop."""

    async def take_over(
        self, answer: AnswerId, held_by: WriterId | None, *, last_beat: int | None = None
    ) -> int | None:
        """Hold an open answer from now on; return how often it has changed hands by now, this time included.

        None, and nothing happens, when it has ended or another was quicker; or when who holds it has given another
        sign of life than the last that was seen, 0 if none was. Without `last_beat` that does not matter.
        """

    async def release(self, answer: AnswerId) -> None:
        """Let go of an open answer that I hold: anybody may take it over at once."""

    async def want_stop(self, answer: AnswerId) -> None:
        """Tell whoever holds it, or will, to end it where it is."""
