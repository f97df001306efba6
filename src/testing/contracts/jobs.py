"""What every adapter of `Jobs` keeps."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

import pytest

from llm_backend.application.ports.jobs import Hold, JobId, Jobs, Lease, Progress

OpenWorker = Callable[[], Jobs]
Pass = Callable[[timedelta], Awaitable[None]]

LEASE = timedelta(seconds=10)
LOOKS = 5  # in the time of a lease
AN_OUTAGE = timedelta(hours=1)
HALF = Progress(step="half", percent=50)
ODD_JOBS = ["x' OR '1'='1", "%", "作业", "a b", "j" * 300]


async def taken(jobs: Jobs) -> Lease:
    """The job that is there to be taken."""
    lease = await jobs.take(LEASE)
    assert lease is not None
    return lease


async def left_lying(jobs: Jobs, pass_time: Pass, duration: timedelta = LEASE) -> Lease | None:
    """What can be taken after looking on for so long."""
    await look_on(jobs, pass_time, duration)
    return await jobs.take(LEASE)


async def look_on(jobs: Jobs, pass_time: Pass, duration: timedelta = LEASE, *, but: Collection[JobId] = ()) -> None:
    """Let time go by, and look again and again whether there is something to take, which there is not."""
    for _ in range(LOOKS):
        assert await jobs.take(LEASE, but=but) is None
        await pass_time(duration / LOOKS)


class JobsContract:
    """Every job is done, by one at a time, in whatever process. Needs the fixtures `worker`, a function that opens the
    same jobs as another process would see them, and `pass_time`: an async function that lets so much time go by on the
    clocks of all of them."""

    @pytest.fixture
    def jobs(self, worker: OpenWorker) -> Jobs:
        return worker()

    @pytest.mark.parametrize("name", ["job", *ODD_JOBS])
    async def test_what_was_asked_for_can_be_taken_once(self, jobs: Jobs, name: str) -> None:
        await jobs.enqueue(JobId(name))

        lease = await taken(jobs)

        assert (lease.job, lease.attempt) == (name, 1)
        assert await jobs.take(LEASE) is None

    async def test_where_nothing_was_asked_for_there_is_nothing_to_take(self, jobs: Jobs) -> None:
        assert await jobs.take(LEASE) is None

    async def test_the_oldest_goes_first(self, jobs: Jobs) -> None:
        for name in ("c", "a", "b"):
            await jobs.enqueue(JobId(name))

        assert [(await taken(jobs)).job for _ in range(3)] == ["c", "a", "b"]

    async def test_what_is_in_the_background_goes_after_the_rest(self, jobs: Jobs) -> None:
        await jobs.enqueue(JobId("background"), background=True)
        first = await taken(jobs)
        await jobs.enqueue(JobId("normal"))
        await jobs.hand_back(first)

        assert [(await taken(jobs)).job for _ in range(2)] == ["normal", "background"]

    async def test_what_is_urgent_goes_before_the_rest(self, jobs: Jobs) -> None:
        for name, urgent in [("a", False), ("b", True), ("c", False), ("d", True)]:
            await jobs.enqueue(JobId(name), urgent=urgent)

        assert [(await taken(jobs)).job for _ in range(4)] == ["b", "d", "a", "c"]

    async def test_asking_twice_makes_one_job(self, jobs: Jobs) -> None:
        await jobs.enqueue(JobId("job"))
        await jobs.enqueue(JobId("job"))

        lease = await taken(jobs)
        await jobs.enqueue(JobId("job"))

        assert await jobs.take(LEASE) is None
        await jobs.done(lease)
        assert await jobs.take(LEASE) is None

    async def test_what_is_done_can_be_asked_for_again(self, jobs: Jobs) -> None:
        await jobs.enqueue(JobId("job"))
        await jobs.done(await taken(jobs))

        await jobs.enqueue(JobId("job"))

        assert (await taken(jobs)).attempt == 1

    async def test_of_many_takers_each_gets_another_job(self, worker: OpenWorker) -> None:
        workers = [worker() for _ in range(3)]
        for number in range(20):
            await workers[0].enqueue(JobId(f"job-{number}"))

        leases = await asyncio.gather(*(workers[number % 3].take(LEASE) for number in range(30)))

        names = [lease.job for lease in leases if lease]
        rest = [await workers[0].take(LEASE) for _ in range(20)]  # a taker who was outrun may come back with nothing
        names += [lease.job for lease in rest if lease]
        assert sorted(names) == sorted(f"job-{number}" for number in range(20))

    async def test_a_lease_that_is_extended_is_kept(self, worker: OpenWorker, pass_time: Pass) -> None:
        holder, other = worker(), worker()
        await holder.enqueue(JobId("job"))
        lease = await taken(holder)

        for _ in range(5):
            await look_on(other, pass_time, LEASE * 0.7)
            assert await holder.extend(lease, HALF) is Hold.KEPT

        assert await other.take(LEASE) is None

    async def test_a_lease_that_stands_still_is_lost_to_whoever_watched_it(
        self, worker: OpenWorker, pass_time: Pass
    ) -> None:
        holder, other = worker(), worker()
        await holder.enqueue(JobId("job"))
        lease = await taken(holder)

        again = await left_lying(other, pass_time)

        assert again is not None
        assert (again.job, again.attempt) == ("job", 2)
        assert await holder.extend(lease, HALF) is Hold.LOST
        assert await other.extend(again, HALF) is Hold.KEPT

    async def test_whoever_has_just_come_watches_first(self, worker: OpenWorker, pass_time: Pass) -> None:
        await worker().enqueue(JobId("job"))
        await taken(worker())
        await pass_time(2 * LEASE)

        assert await worker().take(LEASE) is None

    async def test_a_time_in_which_nobody_could_say_anything_is_no_silence(
        self, worker: OpenWorker, pass_time: Pass
    ) -> None:
        holder, other = worker(), worker()
        await holder.enqueue(JobId("job"))
        lease = await taken(holder)

        for _ in range(5):
            assert await other.take(LEASE) is None
            await pass_time(AN_OUTAGE)
            await look_on(other, pass_time, LEASE / 5)
            assert await holder.extend(lease, HALF) is Hold.KEPT

    async def test_after_it_the_dead_are_still_found_out(self, worker: OpenWorker, pass_time: Pass) -> None:
        other = worker()
        await other.enqueue(JobId("job"))
        await taken(worker())
        assert await other.take(LEASE) is None

        await pass_time(AN_OUTAGE)
        await look_on(other, pass_time, LEASE * 0.7)
        await pass_time(LEASE / 10)

        assert (await taken(other)).attempt == 2

    async def test_whoever_has_its_hands_full_watches_all_the_same(self, worker: OpenWorker, pass_time: Pass) -> None:
        busy = worker()
        await busy.enqueue(JobId("left lying"))
        await taken(worker())
        assert await busy.take(LEASE) is None
        await busy.enqueue(JobId("its own"))
        own = await taken(busy)

        for _ in range(LOOKS):
            await pass_time(LEASE / LOOKS)
            assert await busy.extend(own, HALF) is Hold.KEPT

        assert (await taken(busy)).job == "left lying"

    async def test_what_was_left_lying_goes_before_what_is_new(self, worker: OpenWorker, pass_time: Pass) -> None:
        jobs = worker()
        await jobs.enqueue(JobId("old"))
        await taken(worker())
        await look_on(jobs, pass_time)
        await jobs.enqueue(JobId("new"))

        assert [(await taken(jobs)).job for _ in range(2)] == ["old", "new"]

    async def test_whoever_has_lost_the_lease_changes_nothing(self, worker: OpenWorker, pass_time: Pass) -> None:
        holder, other = worker(), worker()
        await holder.enqueue(JobId("job"))
        lease = await taken(holder)
        again = await left_lying(other, pass_time)
        assert again is not None

        await holder.done(lease)
        await holder.retry(lease, after=timedelta(0))
        await holder.hand_back(lease)

        assert await holder.take(LEASE) is None
        assert await other.extend(again, HALF) is Hold.KEPT

    async def test_another_attempt_comes_after_the_pause(self, worker: OpenWorker, pass_time: Pass) -> None:
        jobs = worker()
        await jobs.enqueue(JobId("job"))
        await jobs.retry(await taken(jobs), after=timedelta(seconds=3))

        assert await left_lying(jobs, pass_time, timedelta(seconds=2)) is None
        await pass_time(timedelta(seconds=1))

        assert (await taken(jobs)).attempt == 2

    async def test_what_is_left_to_others_is_taken_by_others(self, worker: OpenWorker, pass_time: Pass) -> None:
        one, other = worker(), worker()
        await one.enqueue(JobId("job"))
        await one.retry(await taken(one), after=timedelta(seconds=3))
        for _ in range(LOOKS):
            assert await one.take(LEASE) is None
            assert await other.take(LEASE) is None
            await pass_time(timedelta(seconds=3) / LOOKS)

        assert await one.take(LEASE, but=[JobId("job"), JobId("unknown")]) is None
        assert (await taken(other)).attempt == 2

    async def test_another_attempt_can_come_at_once(self, jobs: Jobs) -> None:
        await jobs.enqueue(JobId("job"))

        await jobs.retry(await taken(jobs), after=timedelta(0))

        assert (await taken(jobs)).attempt == 2

    async def test_what_was_handed_back_can_be_taken_at_once_and_does_not_count(self, worker: OpenWorker) -> None:
        first, second = worker(), worker()
        await first.enqueue(JobId("job"))

        await first.hand_back(await taken(first))

        assert (await taken(second)).attempt == 1

    async def test_the_holder_hears_that_it_was_cancelled(self, worker: OpenWorker) -> None:
        holder, other = worker(), worker()
        await holder.enqueue(JobId("job"))
        lease = await taken(holder)

        await other.cancel(JobId("job"))

        assert await holder.extend(lease, HALF) is Hold.CANCELLED
        assert await other.take(LEASE) is None
        await holder.hand_back(lease)
        again = await taken(other)
        assert await other.extend(again, HALF) is Hold.KEPT  # whoever takes it now knows what to do with it

    async def test_what_was_cancelled_while_it_waited_is_taken_at_once(self, jobs: Jobs) -> None:
        await jobs.enqueue(JobId("job"))
        await jobs.retry(await taken(jobs), after=timedelta(hours=1))

        await jobs.cancel(JobId("job"))
        await jobs.cancel(JobId("unknown"))

        assert (await taken(jobs)).job == "job"

    async def test_everybody_sees_the_progress(self, worker: OpenWorker) -> None:
        holder, other = worker(), worker()
        assert await other.progress(JobId("job")) is None
        await holder.enqueue(JobId("job"))
        assert await other.progress(JobId("job")) is None

        lease = await taken(holder)
        await holder.extend(lease, HALF)

        assert await other.progress(JobId("job")) == HALF
        await holder.done(lease)
        assert await other.progress(JobId("job")) is None

    async def test_jobs_are_unfinished_until_they_are_done(self, jobs: Jobs) -> None:
        for name in ("queued", "held", "done", "other"):
            await jobs.enqueue(JobId(name))
        leases = {lease.job: lease for lease in [await taken(jobs) for _ in range(3)]}
        await jobs.done(leases[JobId("done")])
        await jobs.hand_back(leases[JobId("queued")])

        asked = [JobId(name) for name in ("queued", "held", "done", "unknown")]

        assert sorted(await jobs.unfinished(asked)) == ["held", "queued"]
        assert not await jobs.unfinished([])
