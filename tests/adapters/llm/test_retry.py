"""How long to wait, and whether."""

from datetime import UTC, datetime, timedelta

import pytest

from llm_backend.infrastructure.llm.retry import RetryPolicy, parse_retry_after

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 7 ", 7),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("9" * 5000, 10**8),
        (None, None),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("Thu, 01 Jan 99999999999999999999 12:00:30 GMT", None),
        ("Thu, 01 Jan 2026 12:00:30 +99999999999999999999", None),
        ("７", None),
    ],
)
def test_the_header_is_seconds_or_a_date(value: str | None, seconds: int | None) -> None:
    wait = parse_retry_after(value, now=NOW)

    assert (None if wait is None else wait.total_seconds()) == seconds


def test_attempts_are_limited() -> None:
    policy = RetryPolicy(attempts=3)

    assert [policy.wait(failures, None) is None for failures in (1, 2, 3, 4)] == [False, False, True, True]


def test_waits_double_up_to_the_longest_and_are_spread() -> None:
    soonest = RetryPolicy(attempts=9, first_wait=timedelta(seconds=1), longest_wait=timedelta(seconds=5), jitter=_none)

    waits = [soonest.wait(failures, None) for failures in (1, 2, 3, 4)]

    assert waits == [timedelta(seconds=seconds) for seconds in (0.5, 1, 2, 2.5)]


def test_the_servers_wish_is_a_minimum_up_to_the_longest() -> None:
    policy = RetryPolicy(longest_wait=timedelta(seconds=5), jitter=_none)

    assert policy.wait(1, timedelta(seconds=5)) == timedelta(seconds=5)
    assert policy.wait(1, timedelta(seconds=5.1)) is None


def _none() -> float:
    return 0.0
