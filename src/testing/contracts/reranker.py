"""What every reranker must keep."""

import pytest

from llm_backend.application.ports.reranker import Reranker

TEXTS = ["A castle was built in 1320.", "The fox lives in the forest.", "", "不可抗力条款 👩‍👩‍👧"]


class RerankerContract:
    """Each text gets a score of its own. Needs the fixture `reranker`, which works."""

    async def test_each_text_gets_a_score_between_0_and_1(self, reranker: Reranker) -> None:
        scores = await reranker.rerank("Where does the fox live?", TEXTS)

        assert len(scores) == len(TEXTS)
        assert all(0 <= score <= 1 for score in scores)

    async def test_the_order_of_the_texts_does_not_matter(self, reranker: Reranker) -> None:
        scores = await reranker.rerank("fox", TEXTS)

        assert await reranker.rerank("fox", TEXTS[::-1]) == pytest.approx(list(scores)[::-1])

    async def test_of_nothing_there_is_nothing(self, reranker: Reranker) -> None:
        assert not await reranker.rerank("fox", [])

    async def test_it_is_shown_at_least_one_text(self, reranker: Reranker) -> None:
        assert reranker.depth >= 1
