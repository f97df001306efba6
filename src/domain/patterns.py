"""Names of models, and the patterns that stand for many of them."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache


def is_one_of(model: str, patterns: Sequence[str]) -> bool:
    """Whether one of the shell patterns (`gpt-*`) fits; upper and lower case are not the same."""
    return _is_one_of(model, tuple(patterns))


@lru_cache(maxsize=1024)  # each question asks three times, of every provider
def _is_one_of(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)
