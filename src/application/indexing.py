"""Keeping the index in step with the database, which is the truth."""

from dataclasses import dataclass

from llm_backend.application.ports.passage_index import PassageIndex


@dataclass(frozen=True, slots=True)
class OptimizeIndex:
    """Compact the index and take in what is new. Cheap when nothing has changed; run it every few minutes."""

    index: PassageIndex

    async def __call__(self) -> None:
        await self.index.optimize()
