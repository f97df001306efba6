"""Keeping the index in step with the database, which is the truth."""

from dataclasses import dataclass
from datetime import timedelta

from llm_backend.application.ports.passage_index import PassageIndex

PATIENCE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class OptimizeIndex:
    """Compact the index and take in what is new. Cheap when nothing has changed; run it every few minutes.

    That of a large index may take an hour. It goes on behind whoever has waited for `patience`.
    """

    index: PassageIndex
    patience: timedelta = PATIENCE

    async def __call__(self) -> None:
        await self.index.optimize(patience=self.patience)
