"""Work that is asked for once, and done by whoever is free, to its end, whoever dies on the way."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import NewType, Protocol

JobId = NewType("JobId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job has come: the step in the words of the work, and `percent` of the whole."""

    step: str
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A job in somebody's hands. `holder` is of this lease alone; `attempt` counts from 1."""

    job: JobId
    holder: str
    attempt: int


class Hold(Enum):
    """What is left of a lease."""

    KEPT = "kept"
    CANCELLED = "cancelled"  # still ours, but nobody wants the work any more: clear up, then `done`
    LOST = "lost"  # it stood still for too long, and belongs to somebody else, or is done


class Jobs(Protocol):
    """The jobs that are not done. Each is held by one at most; all see the same.

    A lease is no point in time, for clocks jump: it lasts as long as `extend` is called often enough. Others watch it
    and time by clocks of their own, which only run forwards, for how long it has stood still; so do they with the pause
    before another attempt. Whoever has just started therefore waits once more for the whole of it. A time in which
    nobody could say anything is no silence: of a gap between two answers to `take` and `extend`, only a quarter of a
    lease counts.

    Every method may raise `Unavailable` or `StorageFull`. A call of which only the word was lost can be repeated.
    """

    async def enqueue(self, job: JobId, *, urgent: bool = False, background: bool = False) -> None:
        """Ask for it, durably; what is `urgent` goes before all that is not, and what is `background` after. Nothing
        happens when it has been asked for and is not done."""

    async def take(self, lease: timedelta, *, but: Collection[JobId] = ()) -> Lease | None:
        """A job that nobody holds: those first that have been left lying, then the urgent, then the rest, then the
        background, of each kind the oldest; or None. It is lost when it stands still for `lease`. What has been left
        lying and is one of `but` stays there for others.

        Call it often, also when there is nothing to expect: that is how the leases of others are watched.
        """

    async def extend(self, lease: Lease, progress: Progress) -> Hold:
        """Say that the work goes on, and how far it is."""

    async def done(self, lease: Lease) -> None:
        """It need not be done any more. Nothing happens when the lease has been lost."""

    async def retry(self, lease: Lease, *, after: timedelta) -> None:
        """Put it back for another attempt, after a pause. Nothing happens when the lease has been lost."""

    async def hand_back(self, lease: Lease) -> None:
        """Put it back for somebody else, at once, as if this attempt had not been. Nothing happens when the lease
        has been lost."""

    async def cancel(self, job: JobId) -> None:
        """Let its holder, or the next one, know that nobody wants it any more. Nothing happens when there is none."""

    async def progress(self, job: JobId) -> Progress | None:
        """What was said last; None when the job is done, or waits for its first attempt."""

    async def unfinished(self, jobs: Collection[JobId]) -> Collection[JobId]:
        """Those of them that are not done."""
