"""Which documents of a knowledge base a search looks at: conditions on what is known of each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import TypeAlias

from llm_backend.domain.errors import InvalidAttributes, InvalidFilter
from llm_backend.domain.text import has_control_characters, is_storable

MOST_ATTRIBUTES = 16
LONGEST_KEY = 64  # characters
LONGEST_VALUE = 512  # characters
MOST_CONDITIONS = 100
MOST_VALUES = 1000  # in one list
DEEPEST = 8  # levels of and/or within each other

DOCUMENT_ID, DOCUMENT_NAME, FILE_TYPE = "doc_id", "doc_name", "file_type"
RESERVED_KEYS = frozenset({DOCUMENT_ID, DOCUMENT_NAME, FILE_TYPE})

Value: TypeAlias = str | int | float | bool
Attributes: TypeAlias = Mapping[str, Value]


class Operator(StrEnum):
    """How a value is compared. Texts are ordered by code point; nothing is less or greater than another type."""

    EQUAL = "eq"
    NOT_EQUAL = "ne"
    GREATER = "gt"
    AT_LEAST = "gte"
    LESS = "lt"
    AT_MOST = "lte"
    ONE_OF = "in"
    NONE_OF = "nin"


class Junction(StrEnum):
    """How conditions are put together."""

    ALL = "and"
    ANY = "or"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`key operator value`, a tuple of values for `in` and `nin`. A document that lacks the key satisfies only `ne`
    and `nin`. Raises `InvalidFilter`."""

    key: str
    operator: Operator
    value: Value | tuple[Value, ...]

    def __post_init__(self) -> None:
        takes_many = self.operator in {Operator.ONE_OF, Operator.NONE_OF}
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if takes_many is not isinstance(self.value, tuple) or len(values) > MOST_VALUES:
            raise InvalidFilter("in and nin take a list of at most 1000 values, the other comparisons a single value")
        if not 1 <= len(self.key) <= LONGEST_KEY or not all(map(_is_value, values)):
            raise InvalidFilter("A filter compares a key with texts of at most 512 characters, numbers or booleans")


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """Conditions of which all, or any, must hold. Of no conditions all hold, and none does. Raises `InvalidFilter`."""

    junction: Junction
    conditions: "tuple[Condition, ...]"

    def __post_init__(self) -> None:
        if _depth(self) > DEEPEST or _size(self) > MOST_CONDITIONS:
            raise InvalidFilter("A filter has at most 100 comparisons, and at most 8 levels of and/or")


Condition: TypeAlias = Comparison | Combination


def matches(condition: Condition, facts: Attributes) -> bool:
    """Whether a document of which these facts are known satisfies the condition."""
    match condition:
        case Comparison():
            return _holds(condition, facts.get(condition.key))
        case Combination(junction=Junction.ALL):
            return all(matches(one, facts) for one in condition.conditions)
        case Combination():
            return any(matches(one, facts) for one in condition.conditions)


def checked_attributes(attributes: Attributes) -> Attributes:
    """The same, if a document can have them. Raises `InvalidAttributes`."""
    keys = [key for key in attributes if 1 <= len(key) <= LONGEST_KEY and is_storable(key)]
    if len(keys) < len(attributes) or len(keys) > MOST_ATTRIBUTES or not RESERVED_KEYS.isdisjoint(keys):
        raise InvalidAttributes
    if any(map(has_control_characters, keys)) or not all(map(_is_value, attributes.values())):
        raise InvalidAttributes
    return dict(attributes)


def _is_value(value: object) -> bool:
    match value:
        case str():
            return len(value) <= LONGEST_VALUE and is_storable(value)
        case bool():
            return True
        case int() | float():
            return isfinite(value) and abs(value) < 2**63
        case _:
            return False


def _holds(comparison: Comparison, fact: Value | None) -> bool:
    value, operator = comparison.value, comparison.operator
    match operator:
        case Operator.EQUAL:
            return _same(fact, value)
        case Operator.NOT_EQUAL:
            return not _same(fact, value)
        case Operator.ONE_OF:
            return any(_same(fact, one) for one in _many(value))
        case Operator.NONE_OF:
            return not any(_same(fact, one) for one in _many(value))
        case _:
            return _is_ordered(operator, fact, value)


def _many(value: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else (value,)


def _same(fact: object, value: object) -> bool:
    """1 is 1.0, but not true."""
    return isinstance(fact, bool) is isinstance(value, bool) and fact == value


def _is_ordered(operator: Operator, fact: object, value: object) -> bool:
    if isinstance(fact, bool) or isinstance(value, bool):
        return False
    if isinstance(fact, str) and isinstance(value, str):
        return _in_order(operator, (fact > value) - (fact < value))
    if isinstance(fact, int | float) and isinstance(value, int | float):
        return _in_order(operator, (fact > value) - (fact < value))
    return False


def _in_order(operator: Operator, sign: int) -> bool:
    """`sign` is 1 when the fact is greater than the value, -1 when it is less, 0 when they are equal."""
    match operator:
        case Operator.GREATER:
            return sign > 0
        case Operator.AT_LEAST:
            return sign >= 0
        case Operator.LESS:
            return sign < 0
        case _:
            return sign <= 0


def _depth(condition: Condition) -> int:
    if isinstance(condition, Comparison):
        return 0
    return 1 + max(map(_depth, condition.conditions), default=0)


def _size(condition: Condition) -> int:
    return 1 if isinstance(condition, Comparison) else sum(map(_size, condition.conditions))
