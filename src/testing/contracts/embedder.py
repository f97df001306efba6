"""What every embedder must keep."""

import math
from array import array

import pytest

from llm_backend.application.ports.embedder import Embedder

TEXTS = ["the quick brown fox", "不可抗力条款", "a lazy dog\nsleeps"]
ODD_TEXTS = ["", " ", "\n", "*", "😀", "\x00", "\u202e\u200b", "a" * 8192, "一" * 8192, "\U0010ffff"]


def length(vector: bytes) -> float:
    return math.sqrt(sum(number * number for number in array("f", vector)))


def cosine(one: bytes, other: bytes) -> float:
    return sum(map(float.__mul__, array("f", one), array("f", other)))


class EmbedderContract:
    """Texts become vectors of one space, in order. Needs the fixture `embedder`, which can be reached."""

    async def test_each_text_gets_a_vector_of_the_space_with_length_one(self, embedder: Embedder) -> None:
        embedded = await embedder.embed_document(TEXTS)

        assert len(embedded.vectors) == len(TEXTS)
        assert {len(vector) for vector in embedded.vectors} == {4 * embedder.space.dimensions}
        assert [length(vector) for vector in embedded.vectors] == pytest.approx([1.0] * len(TEXTS), abs=1e-4)

    async def test_the_vectors_come_in_the_order_of_the_texts(self, embedder: Embedder) -> None:
        together = (await embedder.embed_document(TEXTS)).vectors

        for text, vector in zip(TEXTS, together, strict=True):
            (alone,) = (await embedder.embed_document([text])).vectors
            assert cosine(alone, vector) == pytest.approx(1.0, abs=1e-3)

    async def test_no_texts_are_no_vectors(self, embedder: Embedder) -> None:
        assert not (await embedder.embed_document([])).vectors

    async def test_more_texts_than_fit_into_one_request_are_no_matter(self, embedder: Embedder) -> None:
        embedded = await embedder.embed_document([f"text number {number}" for number in range(300)])

        assert len(embedded.vectors) == 300

    async def test_a_query_is_nearest_to_the_same_words(self, embedder: Embedder) -> None:
        vectors = (await embedder.embed_document(TEXTS)).vectors

        query = await embedder.embed_query(TEXTS[1])

        assert max(range(len(TEXTS)), key=lambda number: cosine(query, vectors[number])) == 1

    async def test_a_query_about_a_corpus_has_length_one_too(self, embedder: Embedder) -> None:
        statistics = (await embedder.embed_document(TEXTS)).statistics
        corpus = embedder.summarise([statistics]) if statistics is not None else None

        query = await embedder.embed_query("the fox", corpus)

        assert len(query) == 4 * embedder.space.dimensions
        assert length(query) == pytest.approx(1.0, abs=1e-4)

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: repr(text[:12]))
    async def test_any_text_can_be_embedded(self, embedder: Embedder, text: str) -> None:
        (vector,) = (await embedder.embed_document([text])).vectors
        query = await embedder.embed_query(text)

        for one in (vector, query):
            assert len(one) == 4 * embedder.space.dimensions
            assert not any(one) or length(one) == pytest.approx(1.0, abs=1e-4)

    async def test_lexical_ones_have_statistics(self, embedder: Embedder) -> None:
        assert ((await embedder.embed_document(TEXTS)).statistics is not None) is embedder.is_lexical

    def test_the_weights_are_shares(self, embedder: Embedder) -> None:
        assert 0 <= embedder.cosine_weight <= 1
        assert 0 < embedder.related_cosine <= 1
