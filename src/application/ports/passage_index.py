"""Where passages are looked up by words and by meaning."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from llm_backend.application.ports.embedder import Vector
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, StoredChunk
from llm_backend.domain.ranking import Candidate


class PassageIndex(Protocol):
    """An index that can be lost and rebuilt; every knowledge base is searched apart from all others.

    It knows nothing of what is ready or deleted: its callers look that up. Every method may raise `Unavailable`.
    """

    async def add(self, space: EmbeddingSpace, chunks: Sequence[StoredChunk], *, new: bool = False) -> None:
        """Adding the same chunks (document, attempt, position) again replaces them, also when several do so at once.

        `new`: the caller knows that nobody has added any of these attempts before, so that nothing has to be looked
        for. Should it be wrong, every chunk is found once all the same, but `size` may count it twice.

        Chunks without a vector can be found by their words. They are found by every search that begins after this
        has returned.
        """

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
        """The best `limit` by words and the best `limit` by vector, each chunk once, in no particular order.

        With `documents`, chunks of others are not looked at, and take no places.

        `parts.cosine` is exact for every candidate when both sides have vectors, else 0; `parts.bm25` is 0 and
        `parts.text_rank` None for those that the words did not find, likewise `parts.vector_rank`. Ranks count from 1.
        The candidates' own vectors are left out. `text` is folded like the chunks' `search_text`, and may be
        anything, the empty text included; so may be the name of the knowledge base.
        """

    async def remove(
        self, space: EmbeddingSpace, documents: Sequence[DocumentId], *, attempt: int | None = None
    ) -> None:
        """All chunks of all attempts at these documents, or of that attempt alone; no error if there are none."""

    async def clear(self) -> None:
        """Everything, of all spaces: before a rebuild."""

    async def size(self, space: EmbeddingSpace, knowledge_base: KnowledgeBaseId | None = None) -> int:
        """How many chunks there are, in all or of one knowledge base. Cheap."""

    async def holdings(self, space: EmbeddingSpace) -> Mapping[tuple[DocumentId, int], int]:
        """How many chunks there are of each attempt at each document, counted one by one.

        What cannot be read because parts of it are gone is given up, and can be added again afterwards.
        """

    async def optimize(self, *, patience: timedelta | None = None) -> None:
        """Compact and index what is new; searches go on meanwhile. Cheap when nothing is new.

        With `patience`, return after that time at the latest; what has begun goes on then, and is not begun again while
        it does.
        """
