"""Which language models there are to ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model by its name, and who serves it; `created` is a Unix time, 0 where nobody says."""

    id: str
    owned_by: str
    created: int = 0


class ModelCatalogue(Protocol):
    """What can be listed: names that are configured, and what providers list themselves. More may be served."""

    async def models(self) -> Sequence[ListedModel]:
        """Each once, in the order of the configuration. Never raises: a provider that does not answer lists nothing
        new."""
