"""Whether a token's session is still alive."""

from typing import Protocol

from llm_backend.domain.users import Session


class SessionViews(Protocol):
    """A look at the truth, at every request."""

    async def is_live(self, session: Session) -> bool:
        """False once the token has been revoked, its user's `token_version` has moved on, or the user is gone."""
