"""Conditions on documents as clients write them, in the form of OpenAI's attribute filters."""

from typing import Literal, TypeAlias

import msgspec

from llm_backend.domain.errors import InvalidFilter
from llm_backend.domain.filters import DEEPEST, Combination, Comparison, Condition, Junction, Operator

ValueIn: TypeAlias = str | bool | int | float


class FilterIn(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"type": "gte", "key": "year", "value": 2024}` compares, `{"type": "and", "filters": […]}` combines. `key` is
    the name of an attribute, or `doc_id`, `doc_name` or `file_type`."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "and", "or"]
    key: str | None = None
    value: ValueIn | list[ValueIn] | None = None
    filters: "list[FilterIn] | None" = None


def condition_of(given: FilterIn, *, depth: int = 0) -> Condition:
    """Raises `InvalidFilter`."""
    if depth > DEEPEST:
        raise InvalidFilter("A filter has at most 8 levels of and/or")
    if given.type in set(Junction):
        return _combination(given, depth)
    if given.key is None or given.value is None or given.filters is not None:
        raise InvalidFilter("A comparison has a type, a key and a value")
    value = tuple(given.value) if isinstance(given.value, list) else given.value
    return Comparison(key=given.key, operator=Operator(given.type), value=value)


def _combination(given: FilterIn, depth: int) -> Combination:
    if given.filters is None or given.key is not None or given.value is not None:
        raise InvalidFilter("and/or have a type and filters")
    conditions = tuple(condition_of(one, depth=depth + 1) for one in given.filters)
    return Combination(junction=Junction(given.type), conditions=conditions)
