from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.usage import NANO, Price, PriceTable

MILLION = TokenUsage(prompt=1_000_000, completion=1_000_000, cached=400_000)


def test_the_first_pattern_that_fits_counts_and_what_has_no_price_has_no_cost() -> None:
    table = PriceTable(
        [Price(pattern="gpt-*", prompt=2, completion=10), Price(pattern="gpt-mini", prompt=1, completion=1)]
    )

    assert table.cost("gpt-mini", MILLION) == 12 * NANO
    assert table.cost("qwen3", MILLION) is None


def test_what_was_read_before_has_a_price_of_its_own_if_one_is_given() -> None:
    table = PriceTable(
        [Price(pattern="dear", prompt=2, completion=0), Price(pattern="*", prompt=2, completion=0, cached=0.5)]
    )

    assert table.cost("dear", MILLION) == 2 * NANO
    assert table.cost("other", MILLION) == round((0.6 * 2 + 0.4 * 0.5) * NANO)


def test_what_costs_nothing_is_not_without_a_price() -> None:
    assert PriceTable([Price(pattern="*", prompt=0, completion=0)]).cost("local", MILLION) == 0
