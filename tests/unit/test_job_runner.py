"""Jobs are done, a bounded number at a time, to their end or to a reason."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from llm_backend.application.job_runner import Exhausted, JobRunner, Report, ToBeContinued
from llm_backend.application.ports.jobs import JobId, Jobs, Progress
from llm_backend.domain.errors import (
    DatabaseUnavailable,
    DocumentUnreadable,
    EmbeddingFailed,
    EmbeddingKeyRejected,
    OriginalMissing,
    ShuttingDown,
)
from llm_backend.infrastructure.memory.jobs import MemoryJobs, SharedJobs
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.faults import Faults

SOON = 20.0  # seconds, after which a test that waits for something has failed
QUICK = timedelta(milliseconds=10)
JOB = JobId("job")
NOBODY_ELSE = timedelta(hours=1)


@dataclass(slots=True)
class Errands:
    """Work that fails as often as it is told to, or waits until it is told to go on; and remembers everything."""

    errors: list[Exception] = field(default_factory=list)
    waits: bool = False
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    begun: "asyncio.Queue[JobId]" = field(default_factory=asyncio.Queue)
    ended: "asyncio.Queue[tuple[JobId, Exception | None]]" = field(default_factory=asyncio.Queue)
    at_once: int = 0
    most_at_once: int = 0
    interrupted: int = 0

    async def __call__(self, job: JobId, report: Report) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.put_nowait(job)
        report(Progress(step="under way", percent=50))
        try:
            if self.waits:
                await self.go_on.wait()
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        finally:
            self.at_once -= 1
        if self.errors:
            raise self.errors.pop(0)
        self.ended.put_nowait((job, None))

    async def give_up(self, job: JobId, error: Exception, report: Report) -> None:
        self.ended.put_nowait((job, error))


@pytest.fixture
def shared() -> SharedJobs:
    return SharedJobs()


@pytest.fixture
def jobs(shared: SharedJobs) -> MemoryJobs:
    return MemoryJobs(shared)


@pytest.fixture
def work() -> Errands:
    return Errands()


@asynccontextmanager
async def running(jobs: Jobs, work: Errands, **options: Any) -> AsyncIterator[JobRunner]:
    settings = {"first_pause": QUICK, "poll_every": QUICK, "beat_pause": QUICK, "grace": timedelta(0), **options}
    async with asyncio.timeout(SOON), JobRunner(jobs=jobs, work=work, **settings) as runner:
        yield runner


async def until(condition: Callable[[], object]) -> None:
    """Let the others go on until it is so."""
    while not condition():  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(0)


async def test_a_job_is_done_once(jobs: MemoryJobs, shared: SharedJobs, work: Errands) -> None:
    async with running(jobs, work) as runner:
        await jobs.enqueue(JOB)
        runner.nudge()
        ended = await work.ended.get()
        await until(lambda: not shared.rows)

    assert ended == (JOB, None)
    assert work.begun.qsize() == 1


async def test_what_others_asked_for_is_found_without_a_nudge(jobs: MemoryJobs, work: Errands) -> None:
    async with running(jobs, work):
        await jobs.enqueue(JOB)
        assert await work.ended.get() == (JOB, None)


async def test_what_could_not_be_asked_for_is_asked_for_again_and_again(jobs: MemoryJobs, work: Errands) -> None:
    faults = Faults(error=DatabaseUnavailable, at=2, only={"enqueue"})
    away = faults.wrap(jobs)
    async with running(away, work) as runner:
        runner.ask_later(JobId("first"), urgent=False)
        runner.ask_later(JobId("second"), urgent=True)
        ended = {(await work.ended.get())[0], (await work.ended.get())[0]}

    assert ended == {"first", "second"}
    assert faults.calls == ["enqueue"] * 3


async def test_a_job_that_has_had_its_turn_goes_on_as_often_as_it_likes(jobs: MemoryJobs, work: Errands) -> None:
    work.errors = [ToBeContinued() for _ in range(9)]
    await jobs.enqueue(JOB)

    async with running(jobs, work, attempts=2):
        ended = await work.ended.get()

    assert ended == (JOB, None)
    assert work.begun.qsize() == 10


async def test_no_more_than_allowed_are_done_at_a_time(jobs: MemoryJobs, work: Errands) -> None:
    work.waits = True
    for number in range(7):
        await jobs.enqueue(JobId(f"job-{number}"))

    async with running(jobs, work, concurrency=3):
        await until(lambda: work.begun.qsize() == 3)
        work.go_on.set()
        ended = [await work.ended.get() for _ in range(7)]

    assert len(dict(ended)) == 7
    assert work.most_at_once == 3


async def test_what_may_pass_is_tried_again(jobs: MemoryJobs, shared: SharedJobs, work: Errands) -> None:
    work.errors = [EmbeddingFailed(), DatabaseUnavailable()]
    await jobs.enqueue(JOB)

    async with running(jobs, work):
        ended = await work.ended.get()
        await until(lambda: not shared.rows)

    assert ended == (JOB, None)
    assert work.begun.qsize() == 3


async def test_but_not_for_ever(jobs: MemoryJobs, shared: SharedJobs, work: Errands) -> None:
    work.errors = [EmbeddingFailed() for _ in range(10)]
    await jobs.enqueue(JOB)

    async with running(jobs, work, attempts=3):
        _, error = await work.ended.get()
        await until(lambda: not shared.rows)

    assert isinstance(error, EmbeddingFailed)
    assert work.begun.qsize() == 3


async def test_a_refused_key_does_not_pass(jobs: MemoryJobs, shared: SharedJobs, work: Errands) -> None:
    work.errors = [EmbeddingKeyRejected() for _ in range(10)]
    await jobs.enqueue(JOB)

    async with running(jobs, work):
        _, error = await work.ended.get()
        await until(lambda: not shared.rows)

    assert isinstance(error, EmbeddingKeyRejected)
    assert work.begun.qsize() == 1


async def test_what_another_process_may_be_able_to_do_is_left_to_it(shared: SharedJobs) -> None:
    without, having = Errands(errors=[OriginalMissing() for _ in range(10)]), Errands()
    await MemoryJobs(shared).enqueue(JOB)

    async with running(MemoryJobs(shared), without):
        await without.begun.get()
        async with running(MemoryJobs(shared), having):
            ended = await having.ended.get()
            await until(lambda: not shared.rows)

    assert ended == (JOB, None)
    assert without.ended.empty()


async def test_but_where_nobody_can_it_fails_in_the_end(jobs: MemoryJobs, shared: SharedJobs, work: Errands) -> None:
    work.errors = [OriginalMissing() for _ in range(10)]
    await jobs.enqueue(JOB)

    async with running(jobs, work, attempts=3, first_pause=timedelta(0)):
        _, error = await work.ended.get()
        await until(lambda: not shared.rows)

    assert isinstance(error, OriginalMissing)
    assert work.begun.qsize() == 3


async def test_whoever_does_no_jobs_leaves_them_to_others(shared: SharedJobs, work: Errands) -> None:
    nothing = Errands()
    async with running(MemoryJobs(shared), nothing, concurrency=0) as idle, running(MemoryJobs(shared), work):
        await MemoryJobs(shared).enqueue(JOB)
        idle.nudge()
        assert await work.ended.get() == (JOB, None)

    assert nothing.begun.empty()


@pytest.mark.parametrize("error", [DocumentUnreadable(), ZeroDivisionError()])
async def test_what_will_not_pass_is_tried_once(jobs: MemoryJobs, work: Errands, error: Exception) -> None:
    work.errors = [error]
    await jobs.enqueue(JOB)

    async with running(jobs, work):
        assert await work.ended.get() == (JOB, error)

    assert work.begun.qsize() == 1


async def test_a_job_that_nobody_survives_is_given_up(jobs: MemoryJobs, work: Errands) -> None:
    await jobs.enqueue(JOB)
    for _ in range(3):
        lease = await jobs.take(NOBODY_ELSE)
        assert lease is not None
        await jobs.retry(lease, after=timedelta(0))

    async with running(jobs, work, attempts=3):
        job, error = await work.ended.get()

    assert (job, type(error)) == (JOB, Exhausted)
    assert work.begun.empty()


def test_pauses_double_and_end_somewhere(jobs: MemoryJobs, work: Errands) -> None:
    runner = JobRunner(jobs=jobs, work=work, first_pause=timedelta(seconds=1))

    pauses = [runner._pause(attempt).total_seconds() for attempt in (1, 2, 3, 4, 20, 1000)]

    assert pauses == [1, 2, 4, 8, 300, 300]


async def test_a_job_that_takes_long_shows_signs_of_life(shared: SharedJobs, work: Errands) -> None:
    work.waits = True
    jobs = MemoryJobs(shared, monotonic=ManualClock().monotonic)
    await jobs.enqueue(JOB)

    async with running(jobs, work, lease=timedelta(milliseconds=100)):
        await work.begun.get()
        versions = {shared.rows[JOB].version}
        while len(versions) < 8:  # for more than a lease
            versions.add(shared.rows[JOB].version)
            await asyncio.sleep(0)
        work.go_on.set()
        assert await work.ended.get() == (JOB, None)

    assert work.begun.empty()


async def test_progress_is_seen_by_everybody(jobs: MemoryJobs, shared: SharedJobs, work: Errands) -> None:
    work.waits = True
    await jobs.enqueue(JOB)

    async with running(jobs, work):
        await until(lambda: JOB in shared.rows and shared.rows[JOB].progress)
        assert await MemoryJobs(shared).progress(JOB) == Progress(step="under way", percent=50)


async def test_whoever_watches_hears_of_each_step_when_it_can_be_seen_and_of_the_end(
    jobs: MemoryJobs, work: Errands
) -> None:
    work.waits = True
    async with running(jobs, work) as runner:
        with runner.watching(JOB) as news:
            await jobs.enqueue(JOB)
            await news.wait()
            assert await jobs.progress(JOB) == Progress(step="under way", percent=50)
            news.clear()
            work.go_on.set()
            await work.ended.get()
            await news.wait()

    assert not runner._watchers


async def test_a_cancelled_job_is_interrupted_and_then_cleared_up_after(
    jobs: MemoryJobs, shared: SharedJobs, work: Errands
) -> None:
    work.waits = True
    await jobs.enqueue(JOB)

    async with running(jobs, work, lease=NOBODY_ELSE) as runner:
        await work.begun.get()
        await MemoryJobs(shared).cancel(JOB)
        work.waits = False
        runner.look_again(JOB)
        assert await work.begun.get() == JOB
        await until(lambda: not shared.rows)

    assert work.interrupted == 1


async def test_whoever_has_lost_the_lease_stops(jobs: MemoryJobs, shared: SharedJobs, work: Errands) -> None:
    work.waits = True
    await jobs.enqueue(JOB)

    async with running(jobs, work, lease=timedelta(milliseconds=50)):
        await work.begun.get()
        del shared.rows[JOB]
        await until(lambda: work.interrupted)

    assert work.ended.empty()


async def test_at_the_end_jobs_get_their_time(jobs: MemoryJobs, shared: SharedJobs, work: Errands) -> None:
    work.waits = True
    await jobs.enqueue(JOB)

    async with running(jobs, work, grace=timedelta(minutes=1)) as runner:
        await work.begun.get()
        draining = asyncio.create_task(runner.drain())
        await until(lambda: runner._closing)
        with pytest.raises(ShuttingDown):
            runner.check_open()
        await jobs.enqueue(JobId("another"))
        work.go_on.set()
        await draining

    assert await work.ended.get() == (JOB, None)
    assert list(shared.rows) == ["another"]
    assert work.begun.empty()


async def test_what_outlives_it_is_handed_back_and_does_not_count_as_an_attempt(
    jobs: MemoryJobs, shared: SharedJobs, work: Errands
) -> None:
    work.waits = True
    await jobs.enqueue(JOB)

    async with running(jobs, work) as runner:
        await work.begun.get()
        with runner.watching(JOB) as news:
            await runner.drain()
            assert news.is_set()
        with pytest.raises(ShuttingDown):
            runner.check_running()

    lease = await MemoryJobs(shared).take(NOBODY_ELSE)
    assert lease is not None
    assert lease.attempt == 1


@pytest.mark.parametrize("method", ["take", "extend", "done", "retry"])
@pytest.mark.parametrize("error", [DatabaseUnavailable, ZeroDivisionError])
async def test_an_outage_of_the_store_delays_and_loses_nothing(
    shared: SharedJobs, work: Errands, method: str, error: Callable[[], Exception]
) -> None:
    faults = Faults(error=error, only={method})
    jobs = faults.wrap(MemoryJobs(shared))
    work.errors = [EmbeddingFailed()]
    await jobs.enqueue(JOB)

    async with running(jobs, work, lease=timedelta(milliseconds=50), attempts=1000):
        await until(lambda: not shared.rows)

    ends = Counter(type(error) for _, error in (work.ended.get_nowait() for _ in range(work.ended.qsize())))
    assert ends[type(None)] >= 1
    assert set(ends) == {type(None)}
