"""Models that look at a question and a text together."""

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """A model that tells how well each of some texts answers a question: slower than a search, and better."""

    @property
    def depth(self) -> int:
        """How many of the best texts of a search it should be shown, at least 1."""

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """One score for each text, in their order, between 0 and 1. Raises `RerankingFailed`, soon: somebody waits."""
