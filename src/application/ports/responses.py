"""Looking at responses."""

from collections.abc import Sequence
from typing import Protocol

from llm_backend.domain.ids import AnswerId, UserId
from llm_backend.domain.responses import Response


class ResponseViews(Protocol):
    """Each view is one consistent look at what has been committed; nothing of somebody else's is ever in it."""

    async def find(self, owner: UserId, response: AnswerId) -> Response:
        """Raises `ResponseNotFound`."""

    async def lineage(self, owner: UserId, response: AnswerId, *, limit: int) -> Sequence[Response]:
        """The response and those it builds upon, oldest first, at most `limit` of them. What comes before one that was
        deleted is missing. Raises `ResponseNotFound`."""
