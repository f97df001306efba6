import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

import pytest

from llm_backend.testing.faults import Faults, faults_at_every_call


class Lost(Exception):
    pass


class Shelf:
    """A port with one of everything that ports have."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.width = 3

    async def put(self, thing: str) -> str:
        self.done.append(thing)
        return thing

    def peek(self) -> list[str]:
        return self.done

    async def things(self) -> AsyncIterator[str]:
        for thing in self.done:
            yield thing


class Work:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.ended_with: type[BaseException] | None = None

    @property
    def shelf(self) -> Shelf:
        return self._shelf

    async def commit(self) -> None:
        self._shelf.done.append("commit")


class Transactions:
    def __init__(self) -> None:
        self.work = Work(Shelf())
        self.left = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Work]:
        try:
            yield self.work
        finally:
            self.left += 1


async def test_the_call_before_the_fault_works_and_the_one_at_it_does_nothing() -> None:
    shelf = Shelf()
    faulty = Faults(error=Lost, at=2).wrap(shelf)

    assert await faulty.put("a") == "a"
    with pytest.raises(Lost):
        await faulty.put("b")
    assert await faulty.put("c") == "c"

    assert shelf.done == ["a", "c"]


async def test_afterwards_the_call_was_done_and_only_its_answer_is_lost() -> None:
    shelf = Shelf()
    faulty = Faults(error=Lost, afterwards=True).wrap(shelf)

    with pytest.raises(Lost):
        await faulty.put("a")

    assert shelf.done == ["a"]


def test_plain_functions_fail_too_and_plain_values_are_passed_on() -> None:
    faulty = Faults(error=Lost).wrap(Shelf())

    assert faulty.width == 3
    with pytest.raises(Lost):
        faulty.peek()


async def test_streams_fail_at_their_first_step() -> None:
    shelf = Shelf()
    await shelf.put("a")
    things = Faults(error=Lost).wrap(shelf).things()

    with pytest.raises(Lost):
        await anext(things)


async def test_streams_that_fail_afterwards_have_given_everything() -> None:
    shelf = Shelf()
    await shelf.put("a")
    things = Faults(error=Lost, afterwards=True).wrap(shelf).things()

    assert await anext(things) == "a"
    with pytest.raises(Lost):
        await anext(things)


async def test_calls_are_counted_over_all_ports_and_what_they_hand_out() -> None:
    transactions, shelf = Transactions(), Shelf()
    faults = Faults(error=Lost, at=100)

    await put_in_one_go(faults.wrap(transactions))
    await faults.wrap(shelf).put("b")

    assert faults.calls == ["__call__", "put", "commit", "put"]
    assert not faults.struck


async def test_a_unit_of_work_that_fails_in_the_middle_is_left_properly() -> None:
    transactions = Transactions()
    faults = Faults(error=Lost, only={"commit"})

    with pytest.raises(Lost):
        await put_in_one_go(faults.wrap(transactions))

    assert transactions.work.shelf.done == ["a"]
    assert transactions.left == 1


@pytest.mark.parametrize(("afterwards", "left"), [(False, 0), (True, 1)])
async def test_opening_a_unit_of_work_can_fail(afterwards: bool, left: int) -> None:
    transactions = Transactions()
    faults = Faults(error=Lost, afterwards=afterwards)

    with pytest.raises(Lost):
        await put_in_one_go(faults.wrap(transactions))

    assert transactions.work.shelf.done == []
    assert transactions.left == left


async def test_every_call_fails_once_and_then_none() -> None:
    outcomes = []

    for faults in faults_at_every_call(Lost):
        shelf = Shelf()
        faulty = faults.wrap(shelf)
        try:
            for thing in "abc":
                await faulty.put(thing)
        except Lost:
            pass
        outcomes.append("".join(shelf.done))

    assert outcomes == ["", "a", "ab", "abc"]


def test_a_run_that_never_ends_is_reported() -> None:
    runs = faults_at_every_call(Lost, most=5)

    for faults in islice(runs, 5):
        faults.calls.extend(["put"] * 100)

    with pytest.raises(AssertionError, match="Still failing at call 6"):
        next(runs)


async def put_in_one_go(transactions: Transactions) -> None:
    async with transactions() as work:
        await work.shelf.put("a")
        await work.commit()


def test_the_package_for_tests_needs_no_web_framework() -> None:
    script = (
        "import sys, llm_backend.testing, llm_backend.testing.builders, llm_backend.testing.contracts.tokens\n"
        "print([name for name in ('litestar', 'sqlalchemy', 'redis', 'httpx', 'lancedb') if name in sys.modules])"
    )

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "[]"
