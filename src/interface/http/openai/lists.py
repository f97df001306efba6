"""Lists under `/v1`: one envelope, one way of asking for the next page, and arrays in queries in every spelling."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.di import Provide
from litestar.params import QueryParameter

from llm_backend.application.ports.file_views import Id, Slice
from llm_backend.domain.errors import NotFound

T = TypeVar("T")

_INDEXED = re.compile(r"\[\d*\]")


class Page(msgspec.Struct, Generic[T]):
    """Some of a list, and whether there is more: ask on with `after`, the id of the last."""

    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Which part of a list is wanted, in which order. `after` and `before` are the ids of neighbours, and are left out
    themselves; these may have been deleted meanwhile."""

    limit: int
    order: Literal["asc", "desc"]
    after: str | None
    before: str | None

    @property
    def newest_first(self) -> bool:
        return self.order == "desc"


def page_query(*, default: int = 20, most: int = 100) -> Provide:
    """The dependency by which a route gets its `PageQuery`; the parameters show up in its documentation."""

    def page_query(
        limit: Annotated[int, QueryParameter(ge=1, le=most)] = default,
        order: Annotated[Literal["asc", "desc"], QueryParameter()] = "desc",
        after: Annotated[str | None, QueryParameter()] = None,
        before: Annotated[str | None, QueryParameter()] = None,
    ) -> PageQuery:
        return PageQuery(limit=limit, order=order, after=after or None, before=before or None)

    return Provide(page_query, sync_to_thread=False)


def page_of(items: Iterable[T], id_of: Callable[[T], str], *, has_more: bool = False) -> Page[T]:
    """The envelope round what has been found."""
    data = list(items)
    first, last = (id_of(data[0]), id_of(data[-1])) if data else (None, None)
    return Page(data, first, last, has_more)


def slice_of(query: PageQuery, id_in: Callable[[str], Id], *, nothing: Id) -> Slice[Id]:
    """What to look up for it: one more than is wanted, which tells whether there is more. A neighbour that cannot
    exist, as it has no id that `id_in` takes, is sought as `nothing`, so that whoever looks it up finds out: after
    finding out whether there is such a list."""
    after, before = (neighbour(text, id_in, nothing=nothing) for text in (query.after, query.before))
    return Slice(limit=query.limit + 1, newest_first=query.newest_first, after=after, before=before)


def neighbour(text: str | None, id_in: Callable[[str], Id], *, nothing: Id) -> Id | None:
    """What `after` or `before` names, if they name something."""
    try:
        return id_in(text) if text else None
    except NotFound:
        return nothing


def sliced_page(found: Sequence[T], query: PageQuery, id_of: Callable[[T], str]) -> Page[T]:
    """The page, of what was looked up by `slice_of`."""
    ends = query.before and not query.after
    wanted = found[-query.limit :] if ends else found[: query.limit]
    return page_of(wanted, id_of, has_more=len(found) > query.limit)


def values_of(request: Request[Any, Any, Any], name: str) -> list[str]:
    """An array in the query: `name[]=a&name[]=b`, `name[0]=a`, `name=a&name=b`, or all of them."""
    return [
        value
        for key, value in parse_qsl(request.scope["query_string"].decode("latin-1"))
        if key == name or (key.startswith(name) and _INDEXED.fullmatch(key, len(name)))
    ]
