"""Reads of many connections, handled together."""

import asyncio
from typing import Any

import pytest

from llm_backend.infrastructure.llm.gathering import MOST_WAITING, Gathering

LONG = 3600.0  # seconds: what is handed on before was not handed on by the timer


class Connection:
    """A `Taker` that keeps what it takes."""

    def __init__(self, log: list[tuple[str, bytes]], name: str, *, fails: bool = False) -> None:
        self._log = log
        self._name = name
        self._fails = fails
        self.gave_up = False

    def take(self, data: bytes) -> None:
        if self._fails:
            raise ZeroDivisionError
        self._log.append((self._name, data))

    def give_up(self) -> None:
        self.gave_up = True


@pytest.fixture
def log() -> list[tuple[str, bytes]]:
    return []


async def test_the_first_bytes_after_a_silence_are_handed_on_at_once(log: list[tuple[str, bytes]]) -> None:
    gathering = Gathering(LONG)

    gathering.add(Connection(log, "a"), b"1")

    assert log == [("a", b"1")]


async def test_what_follows_soon_is_handed_on_together_and_in_order(log: list[tuple[str, bytes]]) -> None:
    gathering = Gathering(LONG)
    a, b = Connection(log, "a"), Connection(log, "b")
    gathering.add(a, b"1")

    for connection, data in [(a, b"2"), (b, b"x"), (a, b"3")]:
        gathering.add(connection, data)
    meanwhile = list(log)
    gathering.hand_on()
    gathering.hand_on()

    assert meanwhile == [("a", b"1")]
    assert log == [("a", b"1"), ("a", b"23"), ("b", b"x")]


async def test_many_bytes_do_not_wait(log: list[tuple[str, bytes]]) -> None:
    gathering = Gathering(LONG)
    a, b = Connection(log, "a"), Connection(log, "b")
    gathering.add(a, b"1")

    gathering.add(b, b"x")
    gathering.add(a, bytes(MOST_WAITING))

    assert log == [("a", b"1"), ("b", b"x"), ("a", bytes(MOST_WAITING))]


async def test_it_is_handed_on_in_time(log: list[tuple[str, bytes]]) -> None:
    gathering = Gathering(0.001)
    a = Connection(log, "a")

    for data in (b"1", b"2", b"3"):
        gathering.add(a, data)
    async with asyncio.timeout(5):
        while b"".join(data for _, data in log) != b"123":  # noqa: ASYNC110 - a timer of the loop is what is tested
            await asyncio.sleep(0)


async def test_it_waits_longer_the_more_takers_there_are(log: list[tuple[str, bytes]]) -> None:
    gathering = Gathering(0.004, 0.020)
    pauses = []

    for count in (1, 8, 32, 1000, 2):
        for number in range(count):
            gathering.add(Connection(log, str(number)), b"1")
        gathering.hand_on()
        pauses.append(gathering.pause)

    assert pauses == [0.004, 0.004, 0.016, 0.020, 0.004]


async def test_one_that_fails_harms_no_other(log: list[tuple[str, bytes]]) -> None:
    gathering = Gathering(LONG)
    a, b = Connection(log, "a", fails=True), Connection(log, "b")
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    gathering.add(b, b"1")
    gathering.add(a, b"2")
    gathering.add(b, b"3")

    gathering.hand_on()

    assert log == [("b", b"1"), ("b", b"3")]
    assert (a.gave_up, b.gave_up) == (True, False)
    assert isinstance(reported[0]["exception"], ZeroDivisionError)
