"""Ending what runs beside all else."""

import asyncio
from datetime import timedelta

import pytest

from llm_backend.application.ending import ended, ended_within
from llm_backend.application.repeating import in_background, written_behind

AT_ONCE = timedelta(milliseconds=1)
LONG = timedelta(minutes=1)


async def stubborn(times: int) -> None:
    """Goes on after so many cancellations, as behind a library that raises something else in their place."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()


async def begun(times: int) -> "asyncio.Task[None]":
    task = asyncio.create_task(stubborn(times))
    await asyncio.sleep(0)
    return task


async def test_a_task_that_goes_on_after_a_cancellation_is_cancelled_again() -> None:
    tasks = [await begun(times) for times in (0, 1, 3)]

    await ended(*tasks, insist_every=AT_ONCE)

    assert all(task.cancelled() for task in tasks)


async def test_nothing_to_end_ends_at_once() -> None:
    await ended()
    assert await ended_within(LONG)


async def test_what_has_ended_already_is_left_as_it_is() -> None:
    task = asyncio.create_task(asyncio.sleep(0, "result"))
    await asyncio.wait([task])

    await ended(task)

    assert task.result() == "result"


async def test_a_task_may_come_to_its_own_end_within_the_patience() -> None:
    quick, slow = asyncio.create_task(asyncio.sleep(0, "result")), await begun(0)

    assert await ended_within(LONG, quick)
    assert not await ended_within(AT_ONCE, slow)

    assert quick.result() == "result"
    assert slow.cancelled()


@pytest.mark.timeout(30)
async def test_what_runs_in_the_background_ends_with_its_block() -> None:
    async with in_background(stubborn(1), name="stubborn"):
        await asyncio.sleep(0)


@pytest.mark.timeout(30)
async def test_what_cannot_be_written_at_the_end_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def write() -> None:
        await asyncio.Event().wait()

    async with written_behind(write, LONG):
        await asyncio.sleep(0)

    assert "is lost" in caplog.text
