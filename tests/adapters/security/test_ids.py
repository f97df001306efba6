from datetime import UTC, timedelta
from uuid import UUID

from llm_backend.domain.ids import LARGEST_ID
from llm_backend.infrastructure.security.ids import RandomIds, SteadyClock, SystemClock
from llm_backend.testing.clock import NOON, ManualClock

HOUR = timedelta(hours=1)


def test_numbers_are_in_range_and_do_not_repeat() -> None:
    numbers = [RandomIds().number() for _ in range(1000)]

    assert all(1 <= number <= LARGEST_ID for number in numbers)
    assert len(set(numbers)) == 1000


def test_uuids_are_canonical_and_random() -> None:
    uuid = RandomIds().uuid()

    assert str(UUID(uuid)) == uuid
    assert UUID(uuid).version == 4


def test_the_system_clock_knows_its_zone() -> None:
    assert SystemClock()().tzinfo is UTC


def test_a_steady_clock_goes_on_when_the_clock_is_set_back() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock, clock.monotonic)
    clock.advance(HOUR)

    clock.set(NOON - 5 * HOUR)

    assert steady() == NOON + HOUR


def test_a_steady_clock_follows_when_the_clock_is_set_forward_and_returns_with_it() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock, clock.monotonic)

    clock.set(NOON + HOUR)
    ahead = steady()
    clock.set(NOON)

    assert ahead == NOON + HOUR
    assert steady() == NOON
