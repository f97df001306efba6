"""Doing jobs: a bounded number of them at a time in this process, each in a task of its own."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import NamedTuple, Protocol, Self, TypeGuard

from llm_backend.application.ending import LAST_WORD, PATIENCE_AT_THE_END, ended, ended_within
from llm_backend.application.ports.jobs import Hold, JobId, Jobs, Lease, Progress
from llm_backend.application.waiting import set_within
from llm_backend.domain.errors import (
    DomainError,
    EmbeddingKeyRejected,
    OriginalMissing,
    QuotaExceeded,
    ShuttingDown,
    StorageFull,
    Unavailable,
    UpstreamFailed,
)

logger = logging.getLogger(__name__)

PASSING = (Unavailable, StorageFull, UpstreamFailed, QuotaExceeded)  # what may have passed at the next attempt
LASTING = (EmbeddingKeyRejected,)  # those of them that will not
ELSEWHERE = (OriginalMissing,)  # what may be otherwise in another process
OTHERS_TURN = 3  # looks that others get then before we try again
LONGEST_PAUSE = timedelta(minutes=5)
BEATS = 5  # signs of life within a lease, of which some may be late
ALL_DONE = 100  # percent
NOTHING_DONE = Progress(step="", percent=0)
WAITING = Progress(step="waiting", percent=0)  # for the next attempt
Report = Callable[[Progress], None]


def may_pass(error: BaseException | None) -> TypeGuard[DomainError]:
    """Whether what failed by that is tried again."""
    return isinstance(error, PASSING) and not isinstance(error, LASTING)


class Exhausted(Exception):
    """A job was begun as often as it may be, and nobody lived to tell what became of it."""


class ToBeContinued(Exception):
    """A job has had its turn, and goes on when others have had theirs: no attempt is used up by that."""


class Work(Protocol):
    """What a job consists of. Both methods may be cut off anywhere, and called again by anybody."""

    async def __call__(self, job: JobId, report: Report) -> None:
        """Do it; or clear up, when nobody wants it any more. `report` costs nothing. Raises `ToBeContinued` when it has
        taken long enough, and something is left to do."""

    async def give_up(self, job: JobId, error: Exception, report: Report) -> None:
        """Note down that it has failed for good, and clear up."""


class _Watcher(NamedTuple):
    event: asyncio.Event
    each_step: bool


@dataclass(slots=True, kw_only=True, eq=False)
class _Running:
    lease: Lease
    progress: Progress = NOTHING_DONE
    beat: asyncio.Event = field(default_factory=asyncio.Event)  # set when the others should hear of us at once
    work: "asyncio.Task[None] | None" = None
    task: "asyncio.Task[None] | None" = None
    hold: Hold = Hold.KEPT


@dataclass(slots=True, kw_only=True)
class JobRunner:
    """Takes jobs and does them. `async with` it: at the end, those that are not done are handed back.

    A job that fails by something that may pass is tried again, up to `attempts` times, after pauses that double from
    `first_pause` on; what cannot pass fails at once. What may be otherwise in another process is left to others first.
    """

    jobs: Jobs
    work: Work
    concurrency: int = 4  # 0: they are left to others
    attempts: int = 5
    first_pause: timedelta = timedelta(seconds=1)
    lease: timedelta = timedelta(seconds=15)  # for how long a process may be silent before others take its jobs
    beat_pause: timedelta = timedelta(milliseconds=250)  # at least: so that short jobs write no progress
    poll_every: timedelta = timedelta(seconds=1)
    grace: timedelta = timedelta(seconds=30)  # how long running jobs may go on at shutdown
    _running: dict[str, _Running] = field(default_factory=dict)  # by holder: a lost job may come back to us
    _left_to_others: dict[JobId, float] = field(default_factory=dict)  # until when, on the clock of the loop
    _watchers: dict[JobId, list["_Watcher"]] = field(default_factory=dict)
    _unasked: dict[JobId, bool] = field(default_factory=dict)  # and whether it is urgent
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _dispatcher: "asyncio.Task[None] | None" = None
    _closing: bool = False
    _out_of_time: bool = False
    _closed: bool = False

    async def __aenter__(self) -> Self:
        self._dispatcher = asyncio.create_task(self._dispatch(), name="jobs")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()

    # What others ask of it -------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises `ShuttingDown` once `drain` has begun."""
        if self._closing:
            raise ShuttingDown

    def check_running(self) -> None:
        """Raises `ShuttingDown` when `drain` is over: nothing will happen here any more."""
        if self._closed:
            raise ShuttingDown

    def ask_later(self, job: JobId, *, urgent: bool) -> None:
        """Ask for a job for which nobody could ask just now: again and again, until it works or this process ends."""
        self._unasked[job] = urgent

    def nudge(self) -> None:
        """There is something to do: look now, and not at the next poll."""
        self._news.set()

    def look_again(self, job: JobId) -> None:
        """Let a job that runs here find out at once that it was cancelled."""
        for running in self._running.values():
            if running.lease.job == job:
                running.beat.set()
        self.nudge()

    @contextmanager
    def watching(self, job: JobId, *, each_step: bool = True) -> Iterator[asyncio.Event]:
        """An event that is set whenever this process has news of the job, or only when there will be no more. Others'
        news it does not hear of."""
        watcher = _Watcher(asyncio.Event(), each_step)
        watchers = self._watchers.setdefault(job, [])
        watchers.append(watcher)
        try:
            yield watcher.event
        finally:
            watchers.remove(watcher)
            if not watchers:
                self._watchers.pop(job, None)

    async def drain(self) -> None:
        """Take no more jobs, let the running ones go on for `grace`, then hand back the rest. A job that can be neither
        taken nor handed back in a while, as the database does not answer, is left to its lease."""
        self._closing = True
        self.nudge()
        if self._dispatcher:
            await ended_within(LAST_WORD, self._dispatcher)
        if tasks := [running.task for running in self._running.values() if running.task]:
            await asyncio.wait(tasks, timeout=self.grace.total_seconds())
            self._out_of_time = True
            left = list(self._running.values())
            for running in left:
                _interrupt(running)
            if not await ended_within(PATIENCE_AT_THE_END, *tasks):
                logger.warning("jobs could not be handed back in time, and are left to their leases")
                await ended(*[running.work for running in left if running.work])
        self._closed = True
        for job in list(self._watchers):
            self._tell(job)

    # Taking ----------------------------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        while not self._closing:
            self._news.clear()
            await self._ask()
            while len(self._running) < self.concurrency and (lease := await self._take()):
                self._start(lease)
            await set_within(self.poll_every, self._news)

    async def _ask(self) -> None:
        try:
            for job, urgent in list(self._unasked.items()):
                await self.jobs.enqueue(job, urgent=urgent)
                del self._unasked[job]
        except (Unavailable, StorageFull) as error:
            logger.warning("a job could not be asked for: %s", error.code)
        except Exception:
            logger.exception("a job could not be asked for")

    async def _take(self) -> Lease | None:
        if self._closing:
            return None
        try:
            return await self.jobs.take(self.lease, but=self._others())
        except (Unavailable, StorageFull) as error:
            logger.warning("no job could be taken: %s", error.code)
        except Exception:
            logger.exception("no job could be taken")
        return None

    def _others(self) -> Collection[JobId]:
        """What this process has left to the others."""
        now = asyncio.get_running_loop().time()
        self._left_to_others = {job: until for job, until in self._left_to_others.items() if until > now}
        return self._left_to_others.keys()

    def _start(self, lease: Lease) -> None:
        running = self._running[lease.holder] = _Running(lease=lease)
        running.task = asyncio.create_task(self._hold(running), name=f"job {lease.job}")

    # One job ---------------------------------------------------------------------------------------------------------

    async def _hold(self, running: _Running) -> None:
        """Never raises. When nothing more can be said of a job, its lease runs out, and somebody else takes it."""
        job = running.lease.job
        beating = asyncio.create_task(self._beat(running))
        try:
            await self._settle(running, await self._outcome(running))
        except (Unavailable, StorageFull) as error:
            logger.warning("a job is left for later: %s", error.code, extra={"job": job})
        except Exception:
            logger.exception("a job is left for later", extra={"job": job})
        finally:
            await ended(beating)
            del self._running[running.lease.holder]
            self._tell(job)
            self.nudge()

    async def _outcome(self, running: _Running) -> Exception | None:
        """What the work failed by. Raises nothing; being interrupted shows in `work.cancelled()`."""
        if running.lease.attempt > self.attempts:
            return Exhausted()
        running.work = asyncio.create_task(self._begun(running))
        if self._out_of_time:
            running.work.cancel()
        await asyncio.wait([running.work])
        if running.work.cancelled():
            return None
        error = running.work.exception()
        return error if error is None or isinstance(error, Exception) else Exhausted()

    async def _begun(self, running: _Running) -> None:
        await self.work(running.lease.job, partial(self._report, running))

    def _report(self, running: _Running, progress: Progress) -> None:
        running.progress = progress
        running.beat.set()
        if progress.percent >= ALL_DONE:
            self._tell(running.lease.job)

    async def _settle(self, running: _Running, error: Exception | None) -> None:
        lease, work = running.lease, running.work
        if running.hold is Hold.LOST:
            return
        if (work and work.cancelled()) or isinstance(error, ToBeContinued):
            await self.jobs.hand_back(lease)  # when it was cancelled, the next one clears up
        elif error is None:
            await self.jobs.done(lease)
        elif await self.jobs.extend(lease, WAITING) is Hold.LOST:
            return  # it is no longer ours to say
        elif may_pass(error) and lease.attempt < self.attempts:
            logger.warning("a job is tried again: %s", error.code, extra={"job": lease.job})
            await self._put_back(lease, error)
        else:
            await self._give_up(running, error)

    async def _put_back(self, lease: Lease, error: Exception) -> None:
        pause = self._pause(lease.attempt)
        if isinstance(error, ELSEWHERE):
            pause = max(pause, self.poll_every)
            ours_again = pause + OTHERS_TURN * self.poll_every
            self._left_to_others[lease.job] = asyncio.get_running_loop().time() + ours_again.total_seconds()
        await self.jobs.retry(lease, after=pause)

    async def _give_up(self, running: _Running, error: Exception) -> None:
        job = running.lease.job
        if not isinstance(error, DomainError):
            logger.error("a job failed unexpectedly", extra={"job": job}, exc_info=error)
        await self.work.give_up(job, error, partial(self._report, running))
        await self.jobs.done(running.lease)

    def _pause(self, attempt: int) -> timedelta:
        return min(self.first_pause * (1 << min(attempt - 1, 16)), LONGEST_PAUSE)

    async def _beat(self, running: _Running) -> None:
        """Tell the others that we live and how far we are, until it turns out that the work is not wanted of us."""
        while running.hold is Hold.KEPT:
            await asyncio.sleep(self.beat_pause.total_seconds())
            await set_within(self.lease / BEATS, running.beat)
            running.beat.clear()
            try:
                running.hold = await self.jobs.extend(running.lease, running.progress)
                self._tell(running.lease.job, is_over=False)  # now it can be read
            except (Unavailable, StorageFull) as error:
                logger.warning("a lease could not be extended: %s", error.code, extra={"job": running.lease.job})
            except Exception:
                logger.exception("a lease could not be extended", extra={"job": running.lease.job})
        _interrupt(running)

    def _tell(self, job: JobId, *, is_over: bool = True) -> None:
        for watcher in self._watchers.get(job, ()):
            if is_over or watcher.each_step:
                watcher.event.set()


def _interrupt(running: _Running) -> None:
    if running.work:
        running.work.cancel()
