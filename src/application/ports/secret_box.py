"""Encryption at rest."""

from typing import Protocol

from llm_backend.domain.secrets import SealedSecret, Secret


class SecretBox(Protocol):
    """Seals secrets so that the database alone does not give them away."""

    def seal(self, secret: Secret, *, bound_to: str) -> SealedSecret:
        """`bound_to` names the place it belongs to; it opens nowhere else."""

    def open(self, sealed: SealedSecret, *, bound_to: str) -> Secret:
        """Raises `SecretUnreadable` when it was altered, belongs elsewhere or its key is gone."""


class RotatableSecretBox(SecretBox, Protocol):
    """A box whose keys are replaced from time to time."""

    def seal_anew(self, sealed: SealedSecret, *, bound_to: str) -> SealedSecret:
        """The same secret under the newest key; `sealed` itself when it is already. Raises as `open` does."""


class SecretUnreadable(Exception):
    """A stored secret cannot be opened."""
