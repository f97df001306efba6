import pytest

from llm_backend.domain.knowledge import ScoreParts, StoredChunk
from llm_backend.domain.ranking import Candidate
from llm_backend.domain.relevance import SOMETHING, coverage
from tests.builders import a_chunk

HOLIDAYS = "employees get 30 days of holiday each year."
CLAUSE = (
    "the force majeure clause frees a party from its duties when an event nobody could foresee makes performance "
    "impossible. the supplier delivers within ten working days after the order was confirmed."
)
CONTRACT = (
    "不可抗力条款是指合同中约定的因不可预见的客观情况，免除当事人责任的条款。"
    "甲方应当在收到货物之后三十日内支付全部货款。"
)


def a_candidate(text: str) -> Candidate:
    stored = StoredChunk(knowledge_base="s", document="d", attempt=1, chunk=a_chunk(0, text))  # type: ignore[arg-type]
    return Candidate(stored=stored, parts=ScoreParts())


def covered(question: str, text: str) -> float:
    only = [a_candidate(text)]
    return coverage(question, only, only)


def test_rare_words_count_more() -> None:
    about_foxes = a_candidate("the fox of the wood")
    others = [a_candidate("the castle"), a_candidate("the recipe"), a_candidate("the dog")]
    everybody = [about_foxes, *others]

    assert coverage("the fox", [about_foxes], everybody) == 1
    assert coverage("the fox", [others[0]], everybody) < SOMETHING
    assert coverage("the unicorn", [about_foxes], everybody) < SOMETHING


def test_the_best_of_several_counts() -> None:
    some = [a_candidate("castle"), a_candidate("fox")]

    assert coverage("fox", some, some) == 1


def test_nothing_asked_or_found_is_covered_by_nothing() -> None:
    assert coverage("fox", [], []) == 0
    assert covered("*", "text") == 0


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("how many days of holiday do i get?", HOLIDAYS),
        ("how long is my vacation in days?", HOLIDAYS),
        ("what about holidays?", HOLIDAYS),
        ("what is a force majeure clause?", CLAUSE),
        ("when does the supplier deliver?", CLAUSE),
        ("delivery time of suppliers", CLAUSE),
        ("什么是不可抗力条款?", CONTRACT),
        ("货款什么时候支付?", CONTRACT),
    ],
)
def test_even_a_single_passage_is_found_relevant_to_what_it_answers(question: str, text: str) -> None:
    assert covered(question, text) >= SOMETHING


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("what is the capital of france?", HOLIDAYS),
        ("who wrote hamlet?", HOLIDAYS),
        ("what is the capital of france?", CLAUSE),
        ("when was the battle of hastings?", CLAUSE),
        ("法国的首都是哪里?", CONTRACT),
        ("苹果手机的价格是多少?", CONTRACT),
    ],
)
def test_sharing_common_words_is_not_enough(question: str, text: str) -> None:
    assert covered(question, text) < SOMETHING
