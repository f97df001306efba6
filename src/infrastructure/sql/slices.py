"""Parts of lists: each is read from an index, from one thing on, and nothing else is looked at."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Select, Text, bindparam, select

from llm_backend.application.ports.file_views import Slice
from llm_backend.domain.errors import CursorNotFound
from llm_backend.infrastructure.sql.statements import Row

T = TypeVar("T")
Way = tuple[bool, bool, bool]
"""Whether the newest come first, and whether there is something after which and before which it is to be."""
PlaceOf = Callable[[BindParameter[str]], ColumnElement[int]]
"""What finds the place of a neighbour, whether it is still there or not; none, if it never was."""

_ONE = bindparam("after", type_=Text)
_OTHER = bindparam("before", type_=Text)
_LIMIT = bindparam("limit", type_=BigInteger)


def slices(
    listed: Select[*tuple[Any, ...]],
    place: ColumnElement[int],
    place_of: PlaceOf,
) -> Mapping[Way, Select[*tuple[Any, ...]]]:
    """A statement for each way of asking for a part of the list. `place` is what it is in the order of. Nothing is
    before or after a neighbour that never was: see `check_neighbours`."""
    ways = [(newest, after, before) for newest in (True, False) for after in (True, False) for before in (True, False)]
    return {way: _slice(listed, place, place_of, way) for way in ways}


def _slice(
    listed: Select[*tuple[Any, ...]],
    place: ColumnElement[int],
    place_of: PlaceOf,
    way: Way,
) -> Select[*tuple[Any, ...]]:
    newest_first, after, before = way
    if after:
        one = place_of(_ONE)
        listed = listed.where(place < one if newest_first else place > one)
    if before:
        other = place_of(_OTHER)
        listed = listed.where(place > other if newest_first else place < other)
    descending = newest_first is not (before and not after)  # what ends there is read from its end
    return listed.order_by(place.desc() if descending else place).limit(_LIMIT)


def neighbours(place_of: PlaceOf) -> Select[*tuple[Any, ...]]:
    """The places of both, in one row."""
    return select(place_of(_ONE).label("one"), place_of(_OTHER).label("other"))


def check_neighbours(places: Sequence[Row], part: Slice[Any]) -> None:
    """By what `neighbours` has found. Worth asking only when a part is empty. Raises `CursorNotFound`."""
    ((one, other),) = places
    if part.after is not None and one is None:
        raise CursorNotFound(param="after")
    if part.before is not None and other is None:
        raise CursorNotFound(param="before")


def way_of(part: Slice[Any]) -> Way:
    return part.newest_first, part.after is not None, part.before is not None


def values_of(part: Slice[Any]) -> Mapping[str, object]:
    return {"after": part.after, "before": part.before, "limit": part.limit}


def in_order(found: Sequence[T], part: Slice[Any]) -> Sequence[T]:
    """What was read, in the order that is wanted."""
    return found[::-1] if part.ends else found
