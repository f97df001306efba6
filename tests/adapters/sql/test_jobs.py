"""Jobs as rows: several processes, one database."""

from datetime import timedelta

import pytest

from llm_backend.application.ports.jobs import Hold, JobId, Jobs, Progress
from llm_backend.domain.errors import StorageFull
from llm_backend.infrastructure.sql import SqlStore
from llm_backend.infrastructure.sql.jobs import SqlJobs
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.contracts.jobs import LEASE, JobsContract, OpenWorker, Pass, look_on, taken
from llm_backend.testing.faults import Faults


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pass_time(clock: ManualClock) -> Pass:
    async def pass_time(duration: timedelta) -> None:
        clock.advance(duration)

    return pass_time


@pytest.fixture
def worker(store: SqlStore, clock: ManualClock) -> OpenWorker:
    return lambda: SqlJobs(store.jobs._reader, store.jobs._writer, monotonic=clock.monotonic)


class TestSqlJobs(JobsContract): ...


async def test_a_clock_on_the_wall_that_jumps_costs_nobody_the_lease(worker: OpenWorker, clock: ManualClock) -> None:
    holder, other = worker(), worker()
    await holder.enqueue(JobId("job"))
    await taken(holder)
    assert await other.take(LEASE) is None

    clock.set(clock() + timedelta(hours=1))

    assert await other.take(LEASE) is None


async def test_a_disk_that_is_full_costs_nobody_the_lease(
    store: SqlStore, worker: OpenWorker, clock: ManualClock, pass_time: Pass
) -> None:
    """What there is can be read, but nobody can extend a lease."""
    faults = Faults(error=StorageFull, only=["write"], lasting=True)
    other = SqlJobs(store.jobs._reader, faults.wrap(store.jobs._writer), monotonic=clock.monotonic)
    holder = worker()
    await holder.enqueue(JobId("job"))
    lease = await taken(holder)

    await look_on(other, pass_time)
    with pytest.raises(StorageFull):
        await other.take(LEASE)
    faults.lasting = False

    assert await other.take(LEASE) is None
    assert await holder.extend(lease, Progress(step="half", percent=50)) is Hold.KEPT


async def test_however_many_jobs_wait_the_oldest_is_taken(worker: OpenWorker) -> None:
    jobs: Jobs = worker()
    for number in range(100):
        await jobs.enqueue(JobId(f"{number:03}"))

    assert [(await taken(jobs)).job for _ in range(100)] == [f"{number:03}" for number in range(100)]
