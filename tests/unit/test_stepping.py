"""Coroutines that run at once, as far as they get."""

import asyncio
from collections.abc import Callable

import pytest

from llm_backend.interface.http.stepping import begun


class Doors:
    """What a coroutine may have to wait for, one after another."""

    def __init__(self, count: int) -> None:
        self.doors = [asyncio.get_running_loop().create_future() for _ in range(count)]
        self.passed = 0

    async def pass_through(self) -> None:
        for door in self.doors:
            await door
            self.passed += 1


async def test_what_need_not_wait_is_done_at_once() -> None:
    doors = Doors(0)

    assert begun(doors.pass_through()) is None


@pytest.mark.parametrize("open_the_doors", [lambda _: None, lambda doors: doors[0].set_result(None)])
async def test_what_has_to_wait_goes_on_in_the_task_that_awaits_the_rest(
    open_the_doors: Callable[[list[asyncio.Future[None]]], None],
) -> None:
    doors = Doors(3)

    rest = begun(doors.pass_through())
    assert rest is not None
    open_the_doors(doors.doors)  # perhaps before anybody awaits it
    waiting = asyncio.ensure_future(rest)
    for door in doors.doors:
        await asyncio.sleep(0)
        if not door.done():
            door.set_result(None)
    await asyncio.wait_for(waiting, 5)

    assert doors.passed == 3


async def test_what_is_cancelled_meanwhile_hears_of_it() -> None:
    doors = Doors(1)
    rest = begun(doors.pass_through())
    assert rest is not None
    waiting = asyncio.ensure_future(rest)
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait([waiting], timeout=5)

    assert waiting.cancelled()
    assert doors.doors[0].cancelled()


async def test_a_failure_is_raised_where_it_happens() -> None:
    async def fail(first: asyncio.Future[None] | None) -> None:
        if first is not None:
            await first
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        begun(fail(None))
    door: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rest = begun(fail(door))
    door.set_result(None)
    assert rest is not None
    with pytest.raises(ZeroDivisionError):
        await rest
