"""Whatever stands in a stream, a reader gets consecutive events or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.answers import Delta
from llm_backend.infrastructure.codec.events import encode_events
from llm_backend.infrastructure.redis.entries import Garbage, Place, RawEntry

ONE = encode_events([Delta("x")])
numbers = st.integers(0, 12)
payloads = st.lists(st.builds(Delta, st.text()), max_size=4).map(encode_events) | st.binary(max_size=8)
fields = st.tuples(st.just(b"start"), numbers.map(lambda number: b"%d" % number), st.just(b"events"), payloads)
entries = st.tuples(st.tuples(numbers, st.integers(0, 3)), fields | st.lists(st.binary(max_size=6), max_size=6))


def place(seen: int = 0) -> Place:
    return Place(seen, Garbage())


@given(st.lists(entries), numbers)
def test_what_is_read_is_consecutive(some: list[RawEntry], seen: int) -> None:
    batch = place(seen).read(some)

    assert [number for number, _ in batch] == list(range(seen + 1, seen + 1 + len(batch)))


@pytest.mark.parametrize(
    ("entry_id", "fields"),
    [
        ((1, 0), []),
        ((1, 0), [b"unknown", b"field"]),
        ((1, 0), [b"start", b"0", b"other", ONE]),
        ((1, 0), [b"start", b"0", b"events", b"\xc1\xff\x00"]),
        ((1, 0), [b"start", b"0", b"events", encode_events([])]),
        ((1, 0), [b"start", b"0", b"events", ONE[:-1]]),
        ((1, 0), [b"start", b"0", b"events", b"\x91" * 100_000]),
        ((1, 0), [b"start", b"minus one", b"events", ONE]),
        ((1, 0), [b"start", b"1", b"events", ONE]),
        ((0, 0), [b"start", b"0", b"events", ONE]),
        ((1, 3), [b"start", b"0", b"events", ONE]),
    ],
)
def test_garbage_is_passed_over(entry_id: tuple[int, int], fields: list[bytes]) -> None:
    here = place()

    assert here.read([(entry_id, fields), ((1, 0), [b"start", b"0", b"events", ONE])]) == [(1, Delta("x"))]
    assert not here.torn


def test_an_entry_that_overlaps_with_what_was_seen_is_cut() -> None:
    three = encode_events([Delta("a"), Delta("b"), Delta("c")])

    assert place(1).read([((3, 0), [b"start", b"0", b"events", three])]) == [(2, Delta("b")), (3, Delta("c"))]


def test_an_end_that_something_follows_is_none() -> None:
    here = place()

    here.read([((0, 2), [b"start", b"0", b"events", b""]), ((1, 0), [b"start", b"0", b"events", ONE])])

    assert not here.closed
