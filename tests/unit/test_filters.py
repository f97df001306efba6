import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.errors import InvalidAttributes, InvalidFilter
from llm_backend.domain.filters import (
    DEEPEST,
    Attributes,
    Combination,
    Comparison,
    Condition,
    Junction,
    Operator,
    Value,
    checked_attributes,
    matches,
)

FACTS: Attributes = {"year": 2024, "price": 9.5, "lang": "zh", "draft": False, "doc_name": "a.pdf"}


def compare(key: str, operator: str, value: object) -> Condition:
    return Comparison(key=key, operator=Operator(operator), value=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "operator", "value", "holds"),
    [
        ("year", "eq", 2024, True),
        ("year", "eq", 2024.0, True),
        ("year", "eq", "2024", False),
        ("draft", "eq", False, True),
        ("draft", "eq", 0, False),
        ("year", "ne", 2023, True),
        ("year", "ne", 2024, False),
        ("missing", "eq", "x", False),
        ("missing", "ne", "x", True),
        ("year", "gt", 2023, True),
        ("year", "gt", 2024, False),
        ("year", "gte", 2024, True),
        ("price", "lt", 10, True),
        ("price", "lte", 9.5, True),
        ("price", "lt", 9.5, False),
        ("year", "gt", "2023", False),
        ("draft", "gte", False, False),
        ("missing", "lt", 1, False),
        ("lang", "gt", "en", True),
        ("lang", "lte", "zh", True),
        ("lang", "in", ("en", "zh"), True),
        ("lang", "in", (), False),
        ("lang", "nin", ("en", "zh"), False),
        ("missing", "nin", ("en",), True),
        ("draft", "in", (0,), False),
        ("doc_name", "eq", "a.pdf", True),
        ("lang", "eq", "zh' OR '1'='1", False),
    ],
)
def test_a_comparison_holds_or_does_not(key: str, operator: str, value: object, holds: bool) -> None:
    assert matches(compare(key, operator, value), FACTS) is holds


def test_conditions_are_combined() -> None:
    right, wrong = compare("year", "eq", 2024), compare("lang", "eq", "en")

    for junction, conditions, holds in [
        ("and", (right, right), True),
        ("and", (right, wrong), False),
        ("and", (), True),
        ("or", (wrong, right), True),
        ("or", (wrong, wrong), False),
        ("or", (), False),
    ]:
        assert matches(Combination(junction=Junction(junction), conditions=conditions), FACTS) is holds
    assert matches(
        Combination(
            junction=Junction.ANY,
            conditions=(wrong, Combination(junction=Junction.ALL, conditions=(right, right))),
        ),
        FACTS,
    )


@pytest.mark.parametrize(
    ("key", "operator", "value"),
    [
        ("", "eq", 1),
        ("k" * 65, "eq", 1),
        ("k", "in", "text"),
        ("k", "eq", ("text",)),
        ("k", "in", tuple(range(1001))),
        ("k", "eq", "x" * 513),
        ("k", "eq", "\x00"),
        ("k", "eq", float("nan")),
        ("k", "eq", float("inf")),
        ("k", "in", (("nested",),)),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(key: str, operator: str, value: object) -> None:
    with pytest.raises(InvalidFilter):
        compare(key, operator, value)


def test_conditions_have_bounds() -> None:
    one = compare("year", "eq", 2024)
    deep: Condition = one
    for _ in range(DEEPEST):
        deep = Combination(junction=Junction.ALL, conditions=(deep,))

    with pytest.raises(InvalidFilter):
        Combination(junction=Junction.ALL, conditions=(deep,))
    with pytest.raises(InvalidFilter):
        Combination(junction=Junction.ALL, conditions=(one,) * 101)


values = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(-1e9, 1e9),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
)


@given(fact=values, value=values)
def test_of_comparable_values_exactly_one_is_less_or_they_are_equal(fact: Value, value: Value) -> None:
    holds = [matches(compare("k", operator, value), {"k": fact}) for operator in ("lt", "eq", "gt")]

    assert sum(holds) <= 1
    assert matches(compare("k", "ne", value), {"k": fact}) is not holds[1]
    if type(fact) is type(value) and not isinstance(fact, bool):
        assert sum(holds) == 1


@pytest.mark.parametrize(
    "attributes",
    [
        {"": 1},
        {"doc_id": "x"},
        {"file_type": "x"},
        {"k" * 65: 1},
        {"a\nb": 1},
        {"k": "x" * 513},
        {"k": "\ud800"},
        {"k": float("inf")},
        {"k": None},
        {"k": ["x"]},
        {f"k{n}": n for n in range(17)},
    ],
)
def test_attributes_that_cannot_be_are_refused(attributes: Attributes) -> None:
    with pytest.raises(InvalidAttributes):
        checked_attributes(attributes)


def test_attributes_of_all_kinds_are_taken() -> None:
    attributes: Attributes = {
        "语言": "中文",
        "year": 2024,
        "ratio": 0.5,
        "public": True,
        **{f"k{n}": n for n in range(12)},
    }

    assert checked_attributes(attributes) == attributes
