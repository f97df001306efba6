"""Moving a knowledge base from one embedding space to another while it is searched.

The new index is built beside the old one, document by document. When no ready document is missing there, the knowledge
base is searched in the new space, from one moment to the next. The old vectors are kept for a while, and the way back
is the same: only what has come since is embedded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, ReindexingId, UserId
from llm_backend.domain.knowledge import EmbeddingSpace


class ReindexingState(StrEnum):
    """One that is not `RUNNING` has ended for good."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindexing:
    """One move of a knowledge base. `reason` is the code of what a failed one failed by."""

    id: ReindexingId
    knowledge_base: KnowledgeBaseId
    source: EmbeddingSpace
    target: EmbeddingSpace
    state: ReindexingState = ReindexingState.RUNNING
    reason: str | None = None
    started_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReindexingStatus:
    """How far a move has come: how many of the knowledge base's chunks are in the index of the target."""

    reindexing: Reindexing
    chunks: int
    embedded: int

    @property
    def percent(self) -> int:
        """100 only when it is done."""
        if self.reindexing.state is ReindexingState.DONE:
            return 100
        return min(99, 100 * self.embedded // self.chunks) if self.chunks else 0


class Reindexings(Protocol):
    """The moves of all knowledge bases; what a user asks for sees only those of `owner`.

    Vectors are wanted in the space that their knowledge base is searched in, in the target of the move that is running,
    in the source of one that was done since `kept_since`, to go back, and in the target of one that failed since then,
    to go on. All others can be dropped.
    """

    async def start(self, owner: UserId, reindexing: Reindexing) -> None:
        """Raises `KnowledgeBaseNotFound`, `ReindexingInProgress` when one is running, or `EmbeddingModelInUse` when
        the knowledge base is not searched in the source any more."""

    async def running(self, knowledge_base: KnowledgeBaseId) -> Reindexing | None:
        """At most one."""

    async def previous(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, *, kept_since: datetime
    ) -> EmbeddingSpace | None:
        """The space that it was searched in before the present one, if its vectors are still wanted."""

    async def finish(self, reindexing: ReindexingId, *, at: datetime) -> bool:
        """Search in the target from the commit on. False when it is not running any more, or a ready document is
        missing there; nothing happens then."""

    async def fail(self, reindexing: ReindexingId, reason: str, *, at: datetime) -> bool:
        """False when it is not running any more; nothing happens then."""

    async def cancel(self, owner: UserId, knowledge_base: KnowledgeBaseId, *, at: datetime) -> bool:
        """The one that is running. False when there is none, or it is not theirs."""

    async def unsettled(self, *, kept_since: datetime) -> Sequence[KnowledgeBaseId]:
        """Those that are moving, or have vectors that are not wanted."""

    async def withdraw_unwanted(
        self, knowledge_base: KnowledgeBaseId, *, kept_since: datetime
    ) -> Sequence[tuple[DocumentId, EmbeddingSpace]]:
        """From the commit on, what is not wanted counts as missing in the index, and can be taken out of it. Tombstones
        are left to the sweeper."""

    async def drop(self, withdrawn: Sequence[tuple[DocumentId, EmbeddingSpace]]) -> None:
        """Forget vectors that were withdrawn, and are not in the index any more."""

    async def forget_before(self, moment: datetime) -> int:
        """Moves that ended before that. Return how many were forgotten."""
