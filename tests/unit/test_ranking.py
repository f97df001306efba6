from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.knowledge import ScoreParts, StoredChunk
from llm_backend.domain.ranking import (
    MOST_CHARACTERS,
    MOST_LOOKED_FOR,
    Candidate,
    distinct,
    fused,
    looked_for,
    reranked,
    terms,
)
from tests.builders import a_chunk


def a_candidate(text: str = "text", *, bm25: float = 0.0, cosine: float = 0.0, document: str = "d") -> Candidate:
    stored = StoredChunk(knowledge_base="s", document=document, attempt=1, chunk=a_chunk(0, text))  # type: ignore[arg-type]
    return Candidate(stored=stored, parts=ScoreParts(bm25=bm25, cosine=cosine))


def test_scores_are_weighed_and_the_full_text_score_is_relative_to_the_best() -> None:
    by_words, by_vector = a_candidate("words", bm25=12.0), a_candidate("vector", bm25=3.0, cosine=0.9)

    ranked = fused([by_words, by_vector], cosine_weight=0.5)

    assert [one.candidate for one in ranked] == [by_vector, by_words]
    assert [one.score for one in ranked] == pytest.approx([0.5 * 0.9 + 0.5 * 0.25, 0.5])


def test_nothing_found_by_words_is_no_division_by_zero() -> None:
    (ranked,) = fused([a_candidate(cosine=0.4)], cosine_weight=0.3)

    assert ranked.score == pytest.approx(0.12)


def test_opposite_directions_count_as_none() -> None:
    (ranked,) = fused([a_candidate(cosine=-0.5)], cosine_weight=0.3)

    assert ranked.score == 0


def test_equals_are_ordered_by_document_and_position() -> None:
    some = [a_candidate(document=document, bm25=1) for document in "cab"]

    assert [one.candidate.stored.document for one in fused(some, cosine_weight=0.3)] == ["a", "b", "c"]


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1.001, 1.001)), max_size=20),
    st.floats(0, 1),
)
def test_scores_are_in_order_and_between_0_and_1(parts: list[tuple[float, float]], weight: float) -> None:
    some = [a_candidate(str(n), bm25=bm25, cosine=cosine) for n, (bm25, cosine) in enumerate(parts)]

    scores = [one.score for one in fused(some, cosine_weight=weight)]

    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_of_equal_texts_the_best_stays() -> None:
    ranked = fused(
        [a_candidate("same", bm25=1, document="a"), a_candidate("same", bm25=2, document="b")], cosine_weight=0
    )

    assert [one.candidate.stored.document for one in distinct(ranked)] == ["b"]


def test_terms_are_words_and_pairs_of_characters_each_once() -> None:
    assert terms("the fox, the x1 不可抗力 林") == ["the", "fox", "x1", "不可", "可抗", "抗力", "林"]
    assert terms(" *?😀\n") == []


def test_candidates_are_not_changed_by_ranking() -> None:
    candidate = a_candidate(bm25=2, cosine=0.5)

    (ranked,) = fused([candidate], cosine_weight=0.3)

    assert ranked.candidate == replace(candidate)


def test_words_that_stand_together_in_the_question_count_for_more_when_they_do_so_in_the_text() -> None:
    together = a_candidate("the red fox and a green bird", bm25=1, document="b")
    apart = a_candidate("the red bird and a green fox", bm25=1, document="a")

    ranked = fused([apart, together], cosine_weight=0.3, query="red fox")

    assert [one.candidate for one in ranked] == [together, apart]
    assert ranked[0].parts.words == ranked[1].parts.words == 1
    assert (ranked[0].parts.pairs, ranked[1].parts.pairs) == (1, 0)


def test_pairs_are_found_in_chinese_and_over_the_end_of_a_line() -> None:
    texts = ["不可抗力条款", "抗力不可条款", "force\nmajeure"]

    chinese = fused([a_candidate(text) for text in texts], cosine_weight=0, query="不可抗力")
    english = fused([a_candidate(text) for text in texts], cosine_weight=0, query="force majeures")

    assert chinese[0].candidate.stored.chunk.text == "不可抗力条款"
    assert english[0].parts.pairs == 1


def test_a_single_word_counts_as_its_own_pair() -> None:
    (ranked,) = fused([a_candidate("fox", bm25=1)], cosine_weight=0, query="fox")

    assert ranked.score == 1


def test_new_scores_decide_and_what_has_none_is_left_out() -> None:
    first, second, third = (a_candidate(document=document, bm25=1) for document in "abc")
    ranked = fused([first, second, third], cosine_weight=0)

    again = reranked(ranked, [0.2, 1.5])

    assert [one.candidate for one in again] == [second, first]
    assert [one.score for one in again] == [1.0, 0.2]


@given(st.text(max_size=300), st.lists(st.text(max_size=50), max_size=5))
def test_any_question_gives_scores_between_0_and_1(query: str, texts: list[str]) -> None:
    ranked = fused([a_candidate(text, bm25=1, cosine=0.5) for text in texts], cosine_weight=0.4, query=query)

    assert all(0 <= one.score <= 1 for one in ranked)


MANY = " ".join(f"word{number}" for number in range(600))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("the fox, the fox!", "the fox, the fox!"),
        ("狐狸在哪里？" * 9, "狐狸在哪里？" * 9),
        ("the fox, the hen - " * 20, "the fox hen"),
        ("the,fox," * 40, "the fox"),
        ("狐狸在森林里。" * 1000, "狐狸在森林里"),
        ("狐狸" * 4000, "狐狸" * (MOST_CHARACTERS // 2)),
        ("the fox, " * 40 + "狐狸，" * 40, "the fox 狐狸"),
        (MANY, " ".join(MANY.split()[:MOST_LOOKED_FOR])),
        ("- " * 99, "- " * 99),
    ],
)
def test_of_a_long_excerpt_each_word_is_looked_for_once(query: str, expected: str) -> None:
    assert looked_for(query) == expected
