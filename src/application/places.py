"""How much one user may have running at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from llm_backend.domain.errors import TooManyStreams
from llm_backend.domain.ids import UserId


@dataclass(frozen=True, slots=True)
class Places:
    """So many for each user, in this process; None for as many as they like."""

    each: int | None = None
    _taken: "Counter[UserId]" = field(default_factory=Counter, init=False)

    @contextmanager
    def one_for(self, user: UserId) -> Iterator[None]:
        """Until the end of the block. Raises `TooManyStreams`."""
        if self.each is not None and self._taken[user] >= self.each:
            raise TooManyStreams
        self._taken[user] += 1
        try:
            yield
        finally:
            self._taken[user] -= 1
            if not self._taken[user]:
                del self._taken[user]
