from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_backend.application.ports.embedder import Vector
from llm_backend.application.retrieval import CorpusSummaries
from llm_backend.domain.errors import InvalidQuery, KnowledgeBaseNotFound, RerankingFailed, TooManyKnowledgeBases
from llm_backend.domain.filters import Comparison, Condition, Operator
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, ScoreParts
from llm_backend.domain.ranking import Candidate
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.infrastructure.memory.cache import MemoryCache
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.testing.faults import Faults
from tests.unit.shelves import ALICE, BOB, Shelf

FORCE_MAJEURE = "不可抗力条款是指合同中约定的因不可预见的客观情况。"
ANIMALS = [
    "The fox is a small animal of the forest.",
    "Dogs were bred from wolves.",
    "Foxes and dogs are related.",
    "A castle was built on the hill in 1320.",
    "The recipe needs flour and sugar.",
]


@pytest.fixture
async def shelf(tmp_path: Path) -> Shelf:
    opened = await Shelf(tmp_path).open()
    for number, text in enumerate([*ANIMALS, FORCE_MAJEURE]):
        await opened.upload(text, f"{number}.txt")
    return opened


async def test_the_best_comes_first_with_scores_between_0_and_1(shelf: Shelf) -> None:
    found = await shelf.retrieve()(ALICE, shelf.id, "the fox of the forest")

    scores = [passage.score for passage in found.passages]
    assert found.passages[0].chunk.text == ANIMALS[0]
    assert found.passages[0].document_name == "0.txt"
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert (found.relevant, found.degraded) == (True, False)


async def test_a_chinese_question_in_any_script_finds_its_passage(shelf: Shelf) -> None:
    for question in ("什么是不可抗力条款?", "什麼是不可抗力條款？"):
        found = await shelf.retrieve()(ALICE, shelf.id, question)

        assert found.passages[0].chunk.text == FORCE_MAJEURE
        assert found.relevant


async def test_a_misspelled_word_is_found_by_its_vector(shelf: Shelf) -> None:
    found = await shelf.retrieve()(ALICE, shelf.id, "castel")

    assert found.passages[0].chunk.text == ANIMALS[3]


async def test_top_k_is_the_most_that_comes(shelf: Shelf) -> None:
    for top_k in (1, 2, 100):
        found = await shelf.retrieve()(ALICE, shelf.id, "fox dog castle recipe", top_k=top_k)

        assert 1 <= len(found.passages) <= top_k


async def test_fewer_passages_are_a_prefix_of_more(shelf: Shelf) -> None:
    two = await shelf.retrieve()(ALICE, shelf.id, "fox and dogs", top_k=2)
    many = await shelf.retrieve()(ALICE, shelf.id, "fox and dogs", top_k=50)

    assert list(two.passages) == list(many.passages[:2])


async def test_the_threshold_includes_what_is_exactly_as_good(shelf: Shelf) -> None:
    everything = await shelf.retrieve()(ALICE, shelf.id, "fox and dogs", top_k=50)
    bound = everything.passages[1].score

    found = await shelf.retrieve(threshold=bound)(ALICE, shelf.id, "fox and dogs", top_k=50)

    assert list(found.passages) == [passage for passage in everything.passages if passage.score >= bound]


async def test_parts_are_told_on_request_only(shelf: Shelf) -> None:
    plain = await shelf.retrieve()(ALICE, shelf.id, "fox")
    explained = await shelf.retrieve()(ALICE, shelf.id, "fox", explain=True)

    assert all(passage.parts == ScoreParts() for passage in plain.passages)
    assert explained.passages[0].parts.text_rank == 1
    assert explained.passages[0].parts.bm25 > 0
    assert explained.passages[0].parts.cosine > 0


async def test_without_the_embedder_words_decide_and_the_result_says_so(shelf: Shelf) -> None:
    shelf.embedder.on = False

    found = await shelf.retrieve()(ALICE, shelf.id, "fox")

    assert found.degraded
    assert found.relevant
    assert [passage.chunk.text for passage in found.passages] == [ANIMALS[0]]
    assert found.passages[0].score == 1


async def test_a_model_that_is_no_longer_configured_degrades_its_knowledge_bases(shelf: Shelf) -> None:
    class Renamed(HashEmbedder):
        @property
        def space(self) -> EmbeddingSpace:
            return EmbeddingSpace(model="hash-1024", dimensions=2)

    shelf.embedder.inside = Renamed()

    found = await shelf.retrieve()(ALICE, shelf.id, "fox")

    assert found.degraded
    assert found.passages[0].chunk.text == ANIMALS[0]


async def test_a_question_about_something_else_is_told_apart(shelf: Shelf) -> None:
    for question in ("quantum chromodynamics lattice", "今天天气怎么样", "asdf qwer", "*", "😀"):
        found = await shelf.retrieve()(ALICE, shelf.id, question)

        assert not found.relevant, question


async def test_an_empty_knowledge_base_has_nothing_relevant(tmp_path: Path) -> None:
    shelf = await Shelf(tmp_path).open()

    found = await shelf.retrieve()(ALICE, shelf.id, "fox")

    assert (list(found.passages), found.relevant) == ([], False)


@pytest.mark.parametrize("name", ["unknown", "", "x' OR '1'='1", "\x00"])
async def test_an_unknown_shelf_is_not_found_whatever_is_asked(shelf: Shelf, name: str) -> None:
    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.retrieve()(ALICE, KnowledgeBaseId(name), "", top_k=0)


async def test_somebody_elses_shelf_looks_absent(shelf: Shelf) -> None:
    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.retrieve()(BOB, shelf.id, "fox")


@pytest.mark.parametrize("query", ["", " ", "\t\n", "\u3000", "x" * 8193, "a\x00b", "\ud800"])
async def test_a_query_that_cannot_be_is_refused(shelf: Shelf, query: str) -> None:
    with pytest.raises(InvalidQuery):
        await shelf.retrieve()(ALICE, shelf.id, query)


@pytest.mark.parametrize("top_k", [0, -1, 101, 10**30])
async def test_top_k_has_bounds(shelf: Shelf, top_k: int) -> None:
    with pytest.raises(InvalidQuery):
        await shelf.retrieve()(ALICE, shelf.id, "fox", top_k=top_k)


@pytest.mark.parametrize("query", ['"', "*", "((", "a AND", "'; --", "😀", "x" * 8192, "一" * 8192, "{0} %s"])
async def test_an_odd_query_is_no_error(shelf: Shelf, query: str) -> None:
    assert len((await shelf.retrieve()(ALICE, shelf.id, query)).passages) <= 5


def is_query(text: str) -> bool:
    return bool(text.strip()) and "\x00" not in text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(query=st.text(min_size=1, max_size=200).filter(is_query), top_k=st.integers(1, 100))
async def test_any_query_gives_scores_in_order(shelf: Shelf, query: str, top_k: int) -> None:
    found = await shelf.retrieve()(ALICE, shelf.id, query, top_k=top_k)

    scores = [passage.score for passage in found.passages]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert len(scores) <= top_k


class ForgetfulIndex(MemoryPassageIndex):
    """Its removals get lost; `depths` are the limits it was asked with, `asked` the words."""

    def __init__(self) -> None:
        super().__init__()
        self.depths: list[int] = []
        self.asked: list[str] = []

    async def remove(self, space: EmbeddingSpace, documents: Sequence[str], *, attempt: int | None = None) -> None:
        """Lost."""

    async def search(
        self,
        space: EmbeddingSpace,
        knowledge_base: KnowledgeBaseId,
        *,
        text: str,
        vector: Vector | None,
        limit: int,
        documents: Collection[DocumentId] | None = None,
    ) -> Sequence[Candidate]:
        self.depths.append(limit)
        self.asked.append(text)
        return await super().search(space, knowledge_base, text=text, vector=vector, limit=limit, documents=documents)


async def test_deleted_documents_that_crowd_the_index_hide_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.index = index = ForgetfulIndex()
    await shelf.open()
    for number in range(130):
        document, _ = await shelf.upload(f"fox fox {number}", f"{number}.txt")
        await shelf.delete_document(ALICE, shelf.id, document.id)
    await shelf.upload("This one tells a longer story of a fox that is still there.", "here.txt")

    found = await shelf.retrieve()(ALICE, shelf.id, "fox")

    assert [passage.document_name for passage in found.passages] == ["here.txt"]
    assert index.depths == [100, 400]


async def test_words_of_a_long_excerpt_are_looked_for_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.index = index = ForgetfulIndex()
    await shelf.open()
    await shelf.upload("A fox.")

    for query in ("The fox, the fox!", "The fox, the hen - " * 20):
        await shelf.retrieve()(ALICE, shelf.id, query)

    assert index.asked == ["the fox, the fox!", "the fox hen"]


class OvertakenIndex(MemoryPassageIndex):
    """Each of `before` happens before a search looks, each of `after` when it has looked."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Callable[[], Awaitable[object]]] = []
        self.after: list[Callable[[], Awaitable[object]]] = []

    async def search(
        self,
        space: EmbeddingSpace,
        knowledge_base: KnowledgeBaseId,
        *,
        text: str,
        vector: Vector | None,
        limit: int,
        documents: Collection[DocumentId] | None = None,
    ) -> Sequence[Candidate]:
        if self.before:
            await self.before.pop(0)()
        found = await super().search(space, knowledge_base, text=text, vector=vector, limit=limit, documents=documents)
        if self.after:
            await self.after.pop(0)()
        return found


@pytest.mark.parametrize("condition", [None, Comparison(key="doc_name", operator=Operator.EQUAL, value="fox.txt")])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_document_is_found_that_gets_a_new_version_meanwhile(
    tmp_path: Path, condition: Condition | None, moment: str
) -> None:
    shelf = Shelf(tmp_path)
    shelf.index = index = OvertakenIndex()
    await shelf.open()
    await shelf.upload("The first fox.", "fox.txt")
    setattr(
        index,
        moment,
        [
            partial(shelf.upload, "The second fox.", "fox.txt", replace=True),
            partial(shelf.upload, "The third fox.", "fox.txt", replace=True),
        ],
    )

    found = await shelf.retrieve()(ALICE, shelf.id, "fox", where=condition)

    newest = "The second fox." if (condition, moment) == (None, "before") else "The third fox."
    assert [passage.chunk.text for passage in found.passages] == [newest]


async def test_what_a_deleted_document_has_left_is_looked_at_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.index = index = ForgetfulIndex()
    await shelf.open()
    document, _ = await shelf.upload("A fox.", "gone.txt")
    await shelf.upload("Another fox.", "here.txt")
    await shelf.delete_document(ALICE, shelf.id, document.id)

    found = await shelf.retrieve()(ALICE, shelf.id, "fox")

    assert [passage.document_name for passage in found.passages] == ["here.txt"]
    assert index.depths == [100]


async def test_what_is_rare_in_the_corpus_is_learned_as_it_grows(shelf: Shelf) -> None:
    retrieve = shelf.retrieve()
    before = await retrieve(ALICE, shelf.id, "the fox", explain=True)
    for number in range(30):
        await shelf.upload(f"A fox was seen in garden number {number}.", f"garden-{number}.txt")

    after = await retrieve(ALICE, shelf.id, "the fox", explain=True)

    cosines = [
        next(passage.parts.cosine for passage in found.passages if passage.chunk.text == ANIMALS[0])
        for found in (before, await retrieve(ALICE, shelf.id, "the fox", top_k=100, explain=True))
    ]
    assert cosines[0] != cosines[1]
    assert after != before


async def test_what_one_replica_made_of_a_corpus_serves_the_others(shelf: Shelf) -> None:
    cache, embedder, views = MemoryCache(), HashEmbedder(), shelf.store.knowledge_views
    only_stamps = Faults(error=AssertionError, only={"statistics"}).wrap(views)

    first = await CorpusSummaries(cache).get(shelf.id, embedder, views)
    second = await CorpusSummaries(cache).get(shelf.id, embedder, only_stamps)

    assert first is not None
    assert second == first


async def test_a_summary_is_made_anew_when_documents_change(shelf: Shelf) -> None:
    summaries, embedder, views = CorpusSummaries(MemoryCache()), HashEmbedder(), shelf.store.knowledge_views
    before = await summaries.get(shelf.id, embedder, views)

    await shelf.upload("Something new under the sun.", "new.txt")

    assert await summaries.get(shelf.id, embedder, views) != before


# Filters, thresholds, several knowledge bases ------------------------------------------------------------------------


def where(key: str, operator: str, value: object) -> Condition:
    return Comparison(key=key, operator=Operator(operator), value=value)  # type: ignore[arg-type]


async def names(shelf: Shelf, query: str, condition: Condition) -> list[str]:
    found = await shelf.retrieve()(ALICE, shelf.id, query, where=condition, top_k=100)
    return sorted(passage.document_name for passage in found.passages)


async def test_only_documents_that_satisfy_the_filter_are_searched(shelf: Shelf) -> None:
    await shelf.upload("The fox of the year 2023.", "old.md", attributes={"year": 2023})
    await shelf.upload("The fox of the year 2024.", "new.md", attributes={"year": 2024})

    assert await names(shelf, "fox", where("year", "gte", 2024)) == ["new.md"]
    assert await names(shelf, "fox", where("year", "lt", 3000)) == ["new.md", "old.md"]
    assert await names(shelf, "fox", where("doc_name", "in", ("0.txt", "old.md"))) == ["0.txt", "old.md"]
    assert await names(shelf, "fox", where("doc_name", "eq", "x' OR '1'='1")) == []
    assert await names(shelf, "castle", where("year", "eq", 2024)) == ["new.md"]  # by its vector, if by anything


async def test_a_filter_goes_by_the_attributes_of_now(shelf: Shelf) -> None:
    document, _ = await shelf.upload("A fox in the snow.", "snow.txt", attributes={"draft": True})
    assert await names(shelf, "snow", where("draft", "eq", False)) == []

    await shelf.describe(ALICE, document.id, {"draft": False})

    assert await names(shelf, "snow", where("draft", "eq", False)) == ["snow.txt"]


async def test_the_best_of_a_few_documents_is_found_behind_many_better_ones(tmp_path: Path) -> None:
    shelf = await Shelf(tmp_path).open()
    for number in range(150):
        await shelf.upload(f"fox fox fox {number}", f"{number}.txt")
    await shelf.upload("Once upon a time there was a rather lonely fox.", "tale.txt", attributes={"kind": "tale"})

    assert await names(shelf, "fox", where("kind", "eq", "tale")) == ["tale.txt"]


async def test_a_threshold_of_zero_and_of_one_are_thresholds(shelf: Shelf) -> None:
    everything = await shelf.retrieve(threshold=0.9)(ALICE, shelf.id, "fox", top_k=100, threshold=0)
    perfect = await shelf.retrieve()(ALICE, shelf.id, "fox", top_k=100, threshold=1)

    assert len(everything.passages) > 1
    assert all(passage.score == 1 for passage in perfect.passages)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
async def test_a_threshold_has_bounds(shelf: Shelf, threshold: float) -> None:
    with pytest.raises(InvalidQuery):
        await shelf.retrieve()(ALICE, shelf.id, "fox", threshold=threshold)


async def test_several_knowledge_bases_are_searched_as_one(shelf: Shelf) -> None:
    other = (await shelf.create(ALICE, "Another shelf")).id
    await shelf.upload("The fox of the forest has a den.", "den.txt", shelf=other)

    found = await shelf.retrieve()(ALICE, shelf.id, "the fox of the forest", also=[other, shelf.id], explain=True)

    scores = [passage.score for passage in found.passages]
    assert {passage.knowledge_base for passage in found.passages} == {shelf.id, other}
    assert {passage.document_name for passage in found.passages[:2]} == {"0.txt", "den.txt"}
    assert scores == sorted(scores, reverse=True)
    assert found.relevant


async def test_one_knowledge_base_of_somebody_else_makes_all_of_them_absent(shelf: Shelf) -> None:
    theirs = (await shelf.create(BOB, "Bob's shelf")).id

    with pytest.raises(KnowledgeBaseNotFound):
        await shelf.retrieve()(ALICE, shelf.id, "fox", also=[theirs])


async def test_there_are_at_most_a_hundred_knowledge_bases(shelf: Shelf) -> None:
    many = [KnowledgeBaseId(f"shelf-{number}") for number in range(100)]

    with pytest.raises(TooManyKnowledgeBases):
        await shelf.retrieve()(ALICE, shelf.id, "fox", also=many)


# Reranking -----------------------------------------------------------------------------------------------------------


@dataclass
class LongestFirst:
    """A reranker with a taste, until it is `off`."""

    depth: int = 3
    off: bool = False
    shown: list[str] = field(default_factory=list)

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        if self.off:
            raise RerankingFailed
        self.shown = [query, *texts]
        return [min(len(text) / 100, 1.0) for text in texts]


async def test_a_reranker_has_the_last_word_and_sees_the_question_as_it_was_typed(shelf: Shelf) -> None:
    reranker = LongestFirst()

    found = await shelf.retrieve(reranker=reranker)(ALICE, shelf.id, "The Fox and Dogs", top_k=2, explain=True)

    query, *shown = reranker.shown
    assert (query, len(shown)) == ("The Fox and Dogs", 3)
    assert "0.txt\nThe fox is a small animal of the forest." in shown
    assert [len(passage.chunk.text) for passage in found.passages] == sorted(
        [len(text.partition("\n")[2]) for text in shown], reverse=True
    )[:2]
    assert [passage.score for passage in found.passages] == [passage.parts.reranked for passage in found.passages]
    assert all(0 < passage.parts.fused < 1 or passage.parts.fused == 1 for passage in found.passages)
    assert not found.degraded


async def test_whoever_wants_more_passages_gets_more_of_them_reranked(shelf: Shelf) -> None:
    plain = await shelf.retrieve()(ALICE, shelf.id, "fox dogs", top_k=100)
    found = await shelf.retrieve(reranker=LongestFirst(depth=1))(ALICE, shelf.id, "fox dogs", top_k=100)

    assert len(found.passages) == len(plain.passages)


async def test_the_threshold_goes_by_the_score_that_counts(shelf: Shelf) -> None:
    found = await shelf.retrieve(reranker=LongestFirst())(ALICE, shelf.id, "fox", top_k=100, threshold=0.4)

    assert found.passages
    assert all(passage.score >= 0.4 and len(passage.chunk.text) > 30 for passage in found.passages)


async def test_without_the_reranker_the_order_stays_and_the_result_says_so(shelf: Shelf) -> None:
    plain = await shelf.retrieve()(ALICE, shelf.id, "fox and dogs")

    found = await shelf.retrieve(reranker=LongestFirst(off=True))(ALICE, shelf.id, "fox and dogs")

    assert found.passages == plain.passages
    assert found.degraded
