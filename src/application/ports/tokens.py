"""Tokens that say who is asking."""

from typing import Protocol

from llm_backend.domain.users import Session, User


class Tokens(Protocol):
    """Signs and reads tokens; whether one has been revoked is somebody else's business."""

    def issue(self, user: User) -> str: ...

    def read(self, token: str) -> Session:
        """Raises `Unauthenticated` for anything but an unaltered, unexpired token of ours."""
