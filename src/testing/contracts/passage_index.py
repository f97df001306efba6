"""What every passage index must keep."""

import asyncio
from array import array
from collections.abc import Sequence
from datetime import timedelta

import pytest

from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import Chunk, EmbeddingSpace, StoredChunk
from llm_backend.domain.ranking import Candidate

SPACE = EmbeddingSpace(model="test/model:é", dimensions=4)
OTHER_SPACE = EmbeddingSpace(model="test/model:é", dimensions=2)
SHELF = KnowledgeBaseId("0b0e3c9e-6f1a-4a63-9d0c-2f8a2c1b7a01")
OTHER_SHELF = KnowledgeBaseId("0b0e3c9e-6f1a-4a63-9d0c-2f8a2c1b7a02")

EAST = array("f", [1, 0, 0, 0]).tobytes()
NORTH_EAST = array("f", [0.6, 0.8, 0, 0]).tobytes()
NORTH = array("f", [0, 1, 0, 0]).tobytes()
NOWHERE = bytes(16)

ODD_QUERIES = [
    *(
        "",
        " ",
        "\n",
        '"',
        "'",
        '"open',
        "((",
        "*",
        "?",
        "a:b",
        "AND",
        "NOT +x -y",
        "a AND OR b",
        "\\",
        "\x00",
        "😀",
        "的",
    ),
    *("\u202eabc", "x' OR '1'='1", "%s {0} $1", "[1]", "^2~", "fox " * 2000, "f" * 8192, "一" * 8192),
]
ODD_SHELVES = ["", "x' OR '1'='1", "'", '"', "a\x00b", "*", "名", "../..", "null", "0 OR 1=1 --", "k" * 5000]


def stored(
    text: str,
    *,
    document: str = "document-1",
    position: int = 0,
    attempt: int = 1,
    shelf: KnowledgeBaseId = SHELF,
    vector: bytes | None = EAST,
) -> StoredChunk:
    """A chunk that is found by the words of its lower-case text."""
    chunk = Chunk(position=position, start=0, end=len(text), text=text, search_text=text.lower())
    return StoredChunk(knowledge_base=shelf, document=DocumentId(document), attempt=attempt, chunk=chunk, vector=vector)


def texts(found: Sequence[Candidate]) -> list[str]:
    return sorted(candidate.stored.chunk.text for candidate in found)


class PassageIndexContract:
    """Passages are found by words and by meaning, in their space and knowledge base alone. Needs the fixture
    `index`, empty at the start of each test."""

    async def test_an_empty_index_finds_nothing(self, index: PassageIndex) -> None:
        assert not await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)

    async def test_a_chunk_comes_back_as_it_was_but_for_its_vector(self, index: PassageIndex) -> None:
        chunk = Chunk(
            position=7,
            start=1_000,
            end=3_000_000_000,
            text="Der Fuchs 🦊\n‹l'été›",
            headings=("Animals", "Wald > 森"),
            page=12,
            sheet="Größen",
            search_text="der fuchs 🦊\n‹l'été›",
        )
        full = StoredChunk(knowledge_base=SHELF, document=DocumentId("d"), attempt=3, chunk=chunk, vector=EAST)
        await index.add(SPACE, [full])

        (found,) = await index.search(SPACE, SHELF, text="fuchs", vector=None, limit=10)

        assert found.stored.vector is None
        assert (found.stored.knowledge_base, found.stored.document, found.stored.attempt) == (SHELF, "d", 3)
        assert found.stored.chunk == chunk

    async def test_words_and_vectors_both_find_and_tell_their_ranks(self, index: PassageIndex) -> None:
        await index.add(
            SPACE,
            [
                stored("A quick fox", position=0, vector=NORTH),
                stored("A lazy dog", position=1, vector=EAST),
                stored("A fox and a fox cub", position=2, vector=NORTH_EAST),
            ],
        )

        found = await index.search(SPACE, SHELF, text="fox cub", vector=EAST, limit=2)

        by_text = {candidate.stored.chunk.text: candidate.parts for candidate in found}
        assert sorted(by_text) == ["A fox and a fox cub", "A lazy dog", "A quick fox"]
        assert by_text["A fox and a fox cub"].text_rank == 1
        assert by_text["A quick fox"].text_rank == 2
        assert by_text["A quick fox"].vector_rank is None
        assert by_text["A lazy dog"].vector_rank == 1
        assert by_text["A lazy dog"].text_rank is None
        assert by_text["A lazy dog"].bm25 == 0
        assert by_text["A fox and a fox cub"].bm25 > by_text["A quick fox"].bm25 > 0

    async def test_the_cosine_is_exact_also_for_what_words_alone_have_found(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox", vector=NORTH_EAST), stored("dog", position=1, vector=EAST)])

        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=1)

        cosines = {candidate.stored.chunk.text: candidate.parts.cosine for candidate in found}
        assert cosines == pytest.approx({"fox": 0.6, "dog": 1.0}, abs=1e-5)

    async def test_chunks_without_a_vector_are_found_by_their_words(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox", vector=None), stored("dog", position=1, vector=EAST)])

        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)

        parts = {candidate.stored.chunk.text: candidate.parts for candidate in found}
        assert parts["fox"].cosine == 0
        assert parts["fox"].vector_rank is None
        assert parts["fox"].text_rank == 1

    async def test_without_a_vector_words_alone_decide(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox"), stored("dog", position=1)])

        found = await index.search(SPACE, SHELF, text="fox", vector=None, limit=10)

        assert texts(found) == ["fox"]
        assert found[0].parts.cosine == 0

    async def test_a_vector_without_length_is_near_nothing(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox"), stored("dog", position=1, vector=NOWHERE)])

        assert not await index.search(SPACE, SHELF, text="cat", vector=NOWHERE, limit=10)
        assert texts(await index.search(SPACE, SHELF, text="dog", vector=EAST, limit=1)) == ["dog", "fox"]

    async def test_words_are_found_in_chinese_and_japanese(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("不可抗力条款是指合同中约定的"), stored("今日は天気がいい", position=1)])

        assert texts(await index.search(SPACE, SHELF, text="不可抗力", vector=None, limit=1)) == [
            "不可抗力条款是指合同中约定的"
        ]
        assert texts(await index.search(SPACE, SHELF, text="天気", vector=None, limit=1)) == ["今日は天気がいい"]

    async def test_each_knowledge_base_is_searched_apart(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("my fox", document="mine")])
        await index.add(SPACE, [stored(f"fox {n}", document=f"other-{n}", shelf=OTHER_SHELF) for n in range(20)])

        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=1)

        assert texts(found) == ["my fox"]

    async def test_a_search_can_be_held_to_some_documents(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored(f"fox {n}", document=f"document-{n}") for n in range(20)])
        await index.add(SPACE, [stored("other fox", document="other", shelf=OTHER_SHELF)])
        wanted = [DocumentId(name) for name in ("document-7", "document-19", "other", "x' OR '1'='1", "")]

        for vector in (EAST, None):
            found = await index.search(SPACE, SHELF, text="fox", vector=vector, limit=2, documents=wanted)

            assert texts(found) == ["fox 19", "fox 7"]
        assert not await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=2, documents=[])

    async def test_thousands_of_documents_can_be_named(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox", document="document-1")])
        wanted = [DocumentId(f"document-{n}") for n in range(5000)]

        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=2, documents=wanted)

        assert texts(found) == ["fox"]

    async def test_each_space_is_searched_apart(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox here")])
        await index.add(OTHER_SPACE, [stored("fox there", vector=array("f", [1, 0]).tobytes())])

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["fox here"]

    async def test_adding_the_same_chunks_again_replaces_them(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("old fox"), stored("dog", position=1)])

        await index.add(SPACE, [stored("new fox"), stored("dog", position=1)])

        assert texts(await index.search(SPACE, SHELF, text="fox dog", vector=EAST, limit=10)) == ["dog", "new fox"]

    async def test_adding_other_positions_replaces_nothing(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox one", position=0), stored("fox three", position=2)])

        await index.add(SPACE, [stored("fox two", position=1)])

        found = await index.search(SPACE, SHELF, text="fox", vector=None, limit=10)
        assert texts(found) == ["fox one", "fox three", "fox two"]

    async def test_attempts_at_a_document_are_kept_apart(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("first fox", attempt=1)])
        await index.add(SPACE, [stored("second fox", attempt=2)])

        found = await index.search(SPACE, SHELF, text="fox", vector=None, limit=10)

        assert {(one.stored.attempt, one.stored.chunk.text) for one in found} == {(1, "first fox"), (2, "second fox")}

    async def test_adding_nothing_is_no_error(self, index: PassageIndex) -> None:
        await index.add(SPACE, [])

        assert not await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)

    async def test_removing_takes_all_attempts_of_these_documents_only(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox one", attempt=1), stored("fox two", attempt=2)])
        await index.add(SPACE, [stored("fox three", document="document-2")])
        await index.add(SPACE, [stored("fox four", document="document-3")])

        await index.remove(SPACE, [DocumentId("document-1"), DocumentId("document-3"), DocumentId("unknown")])
        await index.remove(SPACE, [DocumentId("document-1")])
        await index.remove(SPACE, [])

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["fox three"]

    async def test_one_attempt_can_be_removed_alone(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox one", attempt=1), stored("fox two", attempt=2)])
        await index.add(SPACE, [stored("fox three", document="document-2", attempt=1)])

        await index.remove(SPACE, [DocumentId("document-1")], attempt=1)

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["fox three", "fox two"]

    async def test_many_documents_can_be_removed_at_once(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored(f"fox {n}", document=f"document-{n}") for n in range(1200)])

        await index.remove(SPACE, [DocumentId(f"document-{n}") for n in range(1199)])

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["fox 1199"]

    async def test_clearing_takes_everything_and_the_index_goes_on(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("old fox")])
        await index.add(OTHER_SPACE, [stored("old fox", vector=None)])

        await index.clear()

        assert not await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)
        assert not await index.search(OTHER_SPACE, SHELF, text="fox", vector=None, limit=10)
        await index.add(SPACE, [stored("new fox")])
        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["new fox"]

    async def test_it_tells_what_it_holds(self, index: PassageIndex) -> None:
        assert await index.size(SPACE) == await index.size(SPACE, SHELF) == 0
        assert not await index.holdings(SPACE)

        await index.add(SPACE, [stored("fox one"), stored("fox two", position=1, vector=None)])
        await index.add(SPACE, [stored("fox again", attempt=2), stored("fox three", document="document-2")])
        await index.add(SPACE, [stored("other fox", document="document-3", shelf=OTHER_SHELF)])
        await index.remove(SPACE, [DocumentId("document-2")])

        assert await index.holdings(SPACE) == {("document-1", 1): 2, ("document-1", 2): 1, ("document-3", 1): 1}
        assert (await index.size(SPACE), await index.size(SPACE, SHELF), await index.size(OTHER_SPACE)) == (4, 3, 0)
        assert not await index.holdings(OTHER_SPACE)

    async def test_the_same_from_many_at_once_is_there_once(self, index: PassageIndex) -> None:
        chunks = [stored(f"fox {n}", position=n) for n in range(5)]

        await asyncio.gather(*(index.add(SPACE, chunks) for _ in range(5)))

        assert await index.holdings(SPACE) == {("document-1", 1): 5}

    async def test_what_is_new_is_found_like_the_rest(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("old fox")])
        await index.add(
            SPACE, [stored("new fox", attempt=2), stored("fox", attempt=2, position=1, vector=None)], new=True
        )

        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)

        assert texts(found) == ["fox", "new fox", "old fox"]
        assert await index.holdings(SPACE) == {("document-1", 1): 1, ("document-1", 2): 2}

    async def test_what_was_called_new_by_mistake_is_found_once(self, index: PassageIndex) -> None:
        await index.add(SPACE, [stored("fox")], new=True)
        await index.add(SPACE, [stored("fox")], new=True)

        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)

        assert texts(found) == ["fox"]
        assert await index.holdings(SPACE) == {("document-1", 1): 1}

    async def test_optimizing_changes_nothing_that_is_found(self, index: PassageIndex) -> None:
        await index.optimize()
        await index.add(SPACE, [stored("fox one"), stored("fox two", position=1, vector=None)])
        await index.add(SPACE, [stored("fox three", document="document-2")])
        await index.remove(SPACE, [DocumentId("document-2")])

        await index.optimize()
        await index.optimize(patience=timedelta(0))
        await index.optimize()
        await index.add(SPACE, [stored("fox four", document="document-4")])

        found = await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)
        assert texts(found) == ["fox four", "fox one", "fox two"]

    async def test_many_at_once_all_come_in(self, index: PassageIndex) -> None:
        await asyncio.gather(*(index.add(SPACE, [stored(f"fox {n}", document=f"document-{n}")]) for n in range(60)))

        assert len(await index.search(SPACE, SHELF, text="fox", vector=None, limit=100)) == 60

    @pytest.mark.parametrize("query", ODD_QUERIES, ids=lambda query: repr(query[:12]))
    async def test_any_query_is_no_error(self, index: PassageIndex, query: str) -> None:
        await index.add(SPACE, [stored("a fox"), stored("的 😀", position=1, vector=None)])

        found = await index.search(SPACE, SHELF, text=query, vector=EAST, limit=10)

        assert "a fox" in texts(found)

    @pytest.mark.parametrize("shelf", ODD_SHELVES, ids=lambda shelf: repr(shelf[:12]))
    async def test_any_name_of_a_knowledge_base_is_harmless(self, index: PassageIndex, shelf: str) -> None:
        odd = KnowledgeBaseId(shelf)
        await index.add(SPACE, [stored("my fox", document="mine")])

        assert not await index.search(SPACE, odd, text="fox", vector=EAST, limit=10)
        await index.remove(SPACE, [DocumentId(shelf)])

        assert texts(await index.search(SPACE, SHELF, text="fox", vector=EAST, limit=10)) == ["my fox"]
