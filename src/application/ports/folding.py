"""Making spelling variants meet."""

from typing import Protocol


class Folding(Protocol):
    """Fold a text for searching: compatibility forms, case and Chinese script variants become one.

    Deterministic and idempotent. Offsets into folded text mean nothing in the original.
    """

    def __call__(self, text: str) -> str: ...
