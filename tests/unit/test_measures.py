import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.measures import compared, estimated, ndcg, percentile, recall, reciprocal_rank


def test_measures_as_trec_eval_computes_them() -> None:
    ranking, grades = ["a", "x", "b", "y", "c"], {"a": 1, "b": 2, "c": 1, "d": 3}

    assert ndcg(ranking, grades, 10) == pytest.approx(0.4597, abs=1e-4)
    assert ndcg(ranking, grades, 1) == pytest.approx(1 / 3)
    assert recall(ranking, grades, 3) == 0.5
    assert recall(ranking, grades, 10) == 0.75
    assert reciprocal_rank(ranking, grades, 10) == 1
    assert reciprocal_rank(["x", "y", "b"], grades, 10) == pytest.approx(1 / 3)
    assert reciprocal_rank(["x", "y", "b"], grades, 2) == 0


def test_what_is_not_graded_or_graded_0_is_not_relevant() -> None:
    for grades in ({}, {"a": 0}):
        assert (ndcg(["a"], grades, 10), recall(["a"], grades, 10), reciprocal_rank(["a"], grades, 10)) == (0, 0, 0)


@given(st.permutations(list("abcdef")), st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 3)))
def test_measures_are_between_0_and_1_and_the_ideal_order_is_perfect(
    ranking: list[str], grades: dict[str, int]
) -> None:
    assert all(0 <= measure(ranking, grades, 5) <= 1 + 1e-12 for measure in (ndcg, recall, reciprocal_rank))
    ideal = sorted(grades, key=lambda one: -grades[one])
    if any(grades.values()):
        assert ndcg(ideal, grades, 10) == pytest.approx(1)


def test_an_interval_holds_the_mean_and_shrinks_with_more_values() -> None:
    few, many = estimated([0.0, 1.0] * 10), estimated([0.0, 1.0] * 1000)

    assert few.low < 0.5 < few.high
    assert few.low < many.low < 0.5 < many.high < few.high
    assert estimated([0.0, 1.0] * 10) == few


def test_a_constant_difference_is_certain_and_chance_is_not() -> None:
    first = [n / 100 for n in range(100)]

    better = compared(first, [value + 0.01 for value in first])
    same = compared(first, first)
    mixed = compared(first, first[::-1])

    assert better.estimate.mean == pytest.approx(0.01)
    assert (better.is_significant, same.is_significant, mixed.is_significant) == (True, False, False)
    assert better.p_value < 0.01 < mixed.p_value
    assert same.p_value == 1


def test_nothing_measured_is_nothing() -> None:
    assert estimated([]).mean == percentile([], 0.5) == 0


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 21)]

    assert [percentile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1, 10, 19, 20]
