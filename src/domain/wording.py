"""Which words of a text say what it is about, and whether another text has them."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cached_property

from llm_backend.domain.ranking import terms

_COMMON_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about after all am an and any are as at be been before by can could did do does for from get give had has "
        "have he her his how i if in into is it its many me much my no not of on or our please she should so some tell "
        "than that the their them there these they this to under up us was we were what when where which while who "
        "whom whose why will with would you your",
    )
)
_COMMON_CHARACTERS = frozenset("的了是在有和与就不也都而及或个们这那之为以于把被让吗呢吧啊么什哪谁怎几多少何如请")
_SHORTEST_STEM = 4


def plain(text: str) -> str:
    """One spelling for what only looks different: NFKC, case-folded."""
    return unicodedata.normalize("NFKC", text).casefold()


def is_common(term: str) -> bool:
    """Whether nearly every text has it."""
    return term in _COMMON_WORDS or not _COMMON_CHARACTERS.isdisjoint(term)


def telling_terms(text: str) -> list[str]:
    """The terms of a plain text without the common ones, each once."""
    return [term for term in terms(text) if not is_common(term)]


def stem(term: str) -> str:
    """Without its last two letters, so that `holidays` is found in `holiday`."""
    return term[: max(_SHORTEST_STEM, len(term) - 2)] if term.isascii() and term.isalpha() else term


class Worded:
    """A plain text, prepared to be asked for many terms."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _words(self) -> set[str]:
        return set(terms(self.text))

    def having(self, wanted: Iterable[str]) -> set[str]:
        """Those of the terms that it has; numbers as they are, words also in other forms."""
        return {term for term in wanted if term in self._words or (term.isalpha() and stem(term) in self.text)}
