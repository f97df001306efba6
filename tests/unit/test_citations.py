import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_backend.domain.citations import MOST_STATEMENTS, Citation, Place, Source, cited
from llm_backend.domain.ids import DocumentId

ENGLISH = (
    "Alice founded the company in 1999. It sells red shoes in Paris. The revenue was 5 million euros in 2020.\n"
    "Employees get 30 days of holiday each year. They may take them at any time."
)
CHINESE = "公司的年假为十五天，员工须提前申请。工资在每月最后一天支付。试用期为三个月。"
START = 100


def a_source(number: int = 1, text: str = ENGLISH, *, start: int = START, verified: bool = True) -> Source:
    second_page = start + max(text.find("Employees"), 0)
    places = (Place(start=start, page=1), Place(start=second_page, page=2, headings=("Terms", "Holidays")))
    return Source(
        number=number,
        document=DocumentId(f"d{number}"),
        document_name=f"{number}.txt",
        start=start,
        text=text,
        places=places if second_page > start else places[:1],
        verified=verified,
    )


SOURCES = [a_source(1), a_source(2, CHINESE)]


def numbers(answer: str) -> list[int]:
    return [citation.number for citation in cited(answer, SOURCES)]


def only(answer: str, *sources: Source) -> Citation:
    (citation,) = cited(answer, sources or SOURCES)
    return citation


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Shoes are sold [1].", [1]),
        ("Shoes are sold [1][2].", [1, 2]),
        ("Shoes are sold [2] [1].", [1, 2]),
        ("Shoes are sold [1, 2].", [1, 2]),
        ("Shoes are sold [1，2].", [1, 2]),
        ("Shoes are sold [1-2].", [1, 2]),
        ("Shoes are sold [^2].", [2]),
        ("Shoes are sold [Source 2].", [2]),
        ("Shoes are sold [Source: 2].", [2]),
        ("Shoes are sold [Sources 1 and 2].", [1, 2]),
        ("Shoes are sold [1 & 2].", [1, 2]),
        ("鞋子有售【1】。", [1]),
        ("鞋子有售【来源：1和2】。", [1, 2]),
        ("鞋子有售【1、2】。", [1, 2]),
        ("鞋子有售［１］。", [1]),
        ("鞋子有售【来源2】。", [2]),
        ("鞋子有售【2†source】。", [2]),
        ("Nothing is named.", []),
        ("Unknown [3], [0] and [999].", []),
        ("Known and unknown [1, 7].", [1]),
        ("A year [2024], a date [2024-01-02], a box [x] and [ ].", []),
        ("Take `a[1]`, or\n```\nb = c[2]\n```\n", []),
        ("```\nnever closed [1]", []),
        ("", []),
    ],
)
def test_numbers_count_as_models_write_them_and_only_those_of_sources(answer: str, expected: list[int]) -> None:
    assert numbers(answer) == expected


@pytest.mark.parametrize(
    ("answer", "quote"),
    [
        ("The revenue in 2020 was 5 million euros [1].", "The revenue was 5 million euros in 2020."),
        ("The revenue in 2020 was 5 million euros.[1] Then came more.", "The revenue was 5 million euros in 2020."),
        ("First something else. Red shoes are sold in Paris [1].", "It sells red shoes in Paris."),
        ("- **Red shoes** are sold in Paris [1]", "It sells red shoes in Paris."),
        ("According to [1], red shoes are sold in Paris.", "It sells red shoes in Paris."),
        ('The text says "sells red shoes in Paris" [1].', "It sells red shoes in Paris."),
        ('It says "Sells … red shoes … in  PARIS." [1]', "It sells red shoes in Paris."),
        ("年假为十五天【2】。", "公司的年假为十五天，员工须提前申请。"),
        ("「员工须提前申请」[2]", "公司的年假为十五天，员工须提前申请。"),
        ("试用期是三个月[2]", "试用期为三个月。"),
    ],
)
def test_of_a_source_the_sentences_are_quoted_that_the_statement_rests_on(answer: str, quote: str) -> None:
    citation = only(answer)

    assert citation.quote == quote
    assert citation.verified


@pytest.mark.parametrize(
    "answer",
    [
        "Der Umsatz war fünf Millionen [1].",
        "That is what they do [1].",
        "[1]",
        "Everything about elephants and their remarkably long trunks in 1999 [1].",
    ],
)
def test_the_whole_source_is_quoted_where_words_cannot_tell(answer: str) -> None:
    citation = only(answer)

    assert (citation.start, citation.end, citation.quote) == (START, START + len(ENGLISH), ENGLISH)


def test_several_statements_have_their_own_places_and_the_quote_reaches_over_all() -> None:
    answer = "Alice founded the company [1]. Red shoes are sold in Paris [1]."

    citation = only(answer)

    assert [answer[claim.answer_start : claim.answer_end] for claim in citation.claims] == [
        "Alice founded the company",
        "Red shoes are sold in Paris",
    ]
    assert [ENGLISH[claim.start - START : claim.end - START] for claim in citation.claims] == [
        "Alice founded the company in 1999.",
        "It sells red shoes in Paris.",
    ]
    assert citation.quote == "Alice founded the company in 1999. It sells red shoes in Paris."


def test_page_and_headings_are_those_where_the_quote_begins() -> None:
    first, second = only("Red shoes are sold in Paris [1]"), only("There are 30 days of holiday each year [1]")

    assert (first.page, first.headings) == (1, ())
    assert (second.page, second.headings) == (2, ("Terms", "Holidays"))


@pytest.mark.parametrize(
    "answer",
    [
        'It says "employees get 300 days of holiday" [1].',
        "它说“员工可以随时离开公司”【2】。",
        "It says «nobody founded the company» [1].",
    ],
)
def test_words_in_quotation_marks_that_no_source_says_are_not_verified(answer: str) -> None:
    assert not only(answer).verified


@pytest.mark.parametrize("markers", ["[1][2]", "[1, 2]", "[1-2]", "[1] [2]"])
def test_of_several_sources_behind_a_quotation_only_those_are_verified_that_say_it(markers: str) -> None:
    borne = cited(f'It says "sells red shoes in Paris" {markers}.', SOURCES)
    invented = cited(f'It says "sells blue shoes in Paris" {markers}.', SOURCES)

    assert [(one.number, one.verified) for one in borne] == [(1, True), (2, False)]
    assert [(one.number, one.verified) for one in invented] == [(1, False), (2, False)]


def test_a_statement_without_quotation_marks_is_verified_for_each_source_that_could_be_compared() -> None:
    several = cited("Red shoes are sold in Paris [1, 2, 3].", [*SOURCES, a_source(3, verified=False)])

    assert [(one.number, one.verified) for one in several] == [(1, True), (2, True), (3, False)]


@pytest.mark.parametrize("answer", ['The so-called "shoes" [1]', 'The "red hat" [1]'])
def test_a_name_or_a_word_in_quotation_marks_is_no_quotation(answer: str) -> None:
    assert only(answer).verified


def test_of_a_source_that_could_not_be_compared_no_part_is_taken_for_granted() -> None:
    citation = only("Red shoes are sold in Paris [1]", a_source(verified=False))

    assert not citation.verified
    assert citation.quote == ENGLISH
    assert [(claim.start, claim.end) for claim in citation.claims] == [(citation.start, citation.end)]


texts = st.text(st.sampled_from('ab 1.。\n\t"“”「」…，[]【】`甲乙\u200b\u0301é'), max_size=80)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=4), texts, st.integers(0, 50))
def test_whatever_is_written_a_citation_is_of_a_source_and_says_what_stands_there(
    written: list[str], answer: str, start: int
) -> None:
    sources = [a_source(n, text, start=start) for n, text in enumerate(written, 1) if text]
    marked = "".join(f"{text} [{n}] {answer}" for n, text in enumerate(written, 1))

    for citation in cited(marked, sources):
        source = next(one for one in sources if one.number == citation.number)
        assert source.start <= citation.start <= citation.end <= source.end
        assert citation.quote == source.text[citation.start - start : citation.end - start]
        for claim in citation.claims:
            assert citation.start <= claim.start <= claim.end <= citation.end
            assert 0 <= claim.answer_start <= claim.answer_end <= len(marked)


@pytest.mark.parametrize(
    "answer", ["x [1] " * 100_000, "[" * 500_000, "." * 500_000 + "[1]", "`" * 500_001 + "[1]", '"' * 500_001 + "[1]"]
)
def test_an_answer_that_is_made_to_be_slow_is_soon_done(answer: str) -> None:
    before = time.process_time()

    cited(answer, SOURCES)

    assert time.process_time() - before < 5


def test_an_answer_that_names_everything_again_and_again_is_compared_as_far_as_that_is_soon_done() -> None:
    sources = [a_source(number, ENGLISH * 60) for number in range(1, 21)]
    answer = "Red shoes are sold in Paris, and the revenue was 5 million euros [1-20]. " * 1500

    citations = cited(answer, sources)

    assert {len(one.claims) for one in citations} == {1500}
    assert {one.claims[0].end - one.claims[0].start < len(ENGLISH) for one in citations} == {True}
    assert {(one.claims[-1].start, one.claims[-1].end) for one in citations} == {(START, START + len(ENGLISH) * 60)}
    assert not any(one.verified for one in citations)


def test_a_citation_is_verified_whatever_other_statements_are_left_uncompared() -> None:
    sources = [a_source(1), *(a_source(number, ENGLISH * 60) for number in range(2, 22))]
    answer = "The shoes are red [1]. " + "Red shoes are sold in Paris [2-21]. " * 1500

    first, *others = cited(answer, sources)

    assert first.verified
    assert not any(one.verified for one in others)


def test_a_source_of_very_many_lines_uses_up_what_may_be_compared() -> None:
    words = [first + second + "qu" for first in "bcdfghklmnprstvwxz" for second in "aeiou"]
    source = a_source(1, "\n".join(words * 60))
    statement = " ".join(words) + " [1]. "

    assert cited(statement, [source])[0].verified
    assert not cited(statement * 40, [source])[0].verified


def test_numbers_that_no_source_has_are_no_statements() -> None:
    assert only("Shoes are sold [1]. " + "Shoes are sold [77]. " * MOST_STATEMENTS).verified


def test_of_more_statements_than_are_looked_at_nothing_is_verified() -> None:
    assert only("Shoes are sold [1]. " * MOST_STATEMENTS).verified
    assert not only("Shoes are sold [1]. " * (MOST_STATEMENTS + 1)).verified
