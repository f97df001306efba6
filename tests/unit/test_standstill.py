"""How long things have stood still, and what of that says something about who holds them."""

from datetime import timedelta

from llm_backend.application.standstill import GAPS, LeaseWatch, Standstills
from llm_backend.testing.clock import ManualClock

LEASE = timedelta(seconds=12)
PART = LEASE / GAPS
NOTHING = timedelta(0)


def test_what_does_not_change_stands_still_from_the_first_look_on() -> None:
    clock = ManualClock()
    standstills = Standstills[str](clock.monotonic)

    looks = []
    for version in (1, 1, 2):
        looks.append(standstills.look({"job": version})["job"])
        clock.advance(PART)

    assert looks == [NOTHING, PART, NOTHING]


def test_of_a_time_without_answers_only_a_part_of_a_lease_counts() -> None:
    clock = ManualClock()
    watch = LeaseWatch[str](clock.monotonic)
    watch.look({"job": 1}, LEASE)

    clock.advance(100 * LEASE)

    assert watch.look({"job": 1}, LEASE) == {"job": PART}


def test_answers_to_something_else_let_the_whole_time_count() -> None:
    clock = ManualClock()
    watch = LeaseWatch[str](clock.monotonic)
    watch.look({"job": 1}, LEASE)

    for _ in range(GAPS):
        clock.advance(PART)
        watch.answered()

    assert watch.look({"job": 1}, LEASE) == {"job": LEASE}


def test_where_nobody_can_say_anything_the_watch_begins_again() -> None:
    clock = ManualClock()
    watch = LeaseWatch[str](clock.monotonic)
    watch.look({"job": 1}, LEASE)
    clock.advance(PART)

    watch.begin_again()

    assert watch.look({"job": 1}, LEASE) == {"job": NOTHING}
