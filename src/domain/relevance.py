"""Whether what was found has anything to do with what was asked."""

import math
import re
from collections.abc import Sequence

from llm_backend.domain.ranking import Candidate, terms

# Measured on five collections, with their own questions and with those of another: 0.15 in one of the best five
# recognizes 97 to 100 % of what can be answered, and 50 to 77 % of what cannot. A wrong "nothing relevant" is worse
# than passages of which the model says that they do not help.
ENOUGH_COVERAGE = 0.15
COVERING = 5
MOST_TERMS = 256  # of a question that are looked for; longer ones are excerpts, and their beginning will do

# A handful of passages cannot tell which words are rare, so each count begins with texts that nobody has uploaded: in
# most of them occur the words below, and no others.
BACKGROUND_TEXTS = 20
COMMON_SHARE = 0.9
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


def coverage(query: str, best: Sequence[Candidate], candidates: Sequence[Candidate]) -> float:
    """The share, 0 to 1, of what the folded query asks for that occurs in one of the best candidates.

    Terms weigh the more the fewer candidates have them, so that sharing "what is the" with a text counts for little.
    """
    texts = [candidate.stored.chunk.search_text for candidate in candidates]
    weights = {_stem(term): _rarity(term, texts) for term in terms(query)[:MOST_TERMS]}
    total = sum(weights.values())
    found = [
        sum(weight for stem, weight in weights.items() if stem in candidate.stored.chunk.search_text)
        for candidate in best
    ]
    return max(found, default=0.0) / total if total else 0.0


def _rarity(term: str, texts: Sequence[str]) -> float:
    """The inverse document frequency, as in BM25."""
    stem = _stem(term)
    among = BACKGROUND_TEXTS + len(texts)
    having = COMMON_SHARE * BACKGROUND_TEXTS * _is_common(term) + sum(stem in text for text in texts)
    return math.log1p((among - having + 0.5) / (having + 0.5))


def _is_common(term: str) -> bool:
    return term in _COMMON_WORDS or not _COMMON_CHARACTERS.isdisjoint(term)


def _stem(term: str) -> str:
    """Without its last two letters, so that `holidays` is found in `holiday`."""
    return term[: max(_SHORTEST_STEM, len(term) - 2)] if term.isascii() else term
