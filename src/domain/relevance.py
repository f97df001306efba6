"""Whether what was found has anything to do with what was asked."""

import math
from collections.abc import Sequence

from llm_backend.domain.knowledge import Relevance
from llm_backend.domain.ranking import Candidate, terms
from llm_backend.domain.wording import is_common, stem

# Chosen on five collections, with their own questions and with those of others in the same language (see
# `benchmarks/relevance.py`): of what can be answered 0.3 % falls below `SOMETHING` and 5 % below `ENOUGH`, of what
# cannot 50 % and 84 %. A wrong "nothing relevant" is worse than passages of which the model says that they do not help.
SOMETHING = 0.2
ENOUGH = 0.35
COVERING = 5  # of the best passages that are looked at
MOST_TERMS = 256  # of a question that are looked for; longer ones are excerpts, and their beginning will do

# A handful of passages cannot tell which words are rare, so each count begins with texts that nobody has uploaded: in
# most of them occur the common words, and no others.
BACKGROUND_TEXTS = 20
COMMON_SHARE = 0.9
# Where all texts are about one thing its word is no longer rare, and still says more than `what`.
LEAST_WEIGHT = 1.5


def relevance_of(
    query: str, best: Sequence[Candidate], candidates: Sequence[Candidate], related_cosine: float
) -> Relevance:
    """What the best of the candidates have to do with the folded query: how much of it they cover, and how near they
    are. At `related_cosine` nearness alone is enough; it counts squared, as unrelated texts are never far apart."""
    shown = best[:COVERING]
    nearness = max((candidate.parts.cosine for candidate in shown), default=0.0) / related_cosine
    evidence = coverage(query, shown, candidates) + ENOUGH * max(nearness, 0.0) ** 2
    if not shown or evidence < SOMETHING:
        return Relevance.NONE
    return Relevance.LOW if evidence < ENOUGH else Relevance.HIGH


def coverage(query: str, best: Sequence[Candidate], candidates: Sequence[Candidate]) -> float:
    """The share, 0 to 1, of what the folded query asks for that occurs in one of the best candidates.

    Terms weigh the more the fewer candidates have them, so that sharing "what is the" with a text counts for little.
    """
    texts = [candidate.stored.chunk.search_text for candidate in candidates]
    weights = {stem(term): _weight(term, texts) for term in terms(query)[:MOST_TERMS]}
    total = sum(weights.values())
    found = [
        sum(weight for part, weight in weights.items() if part in candidate.stored.chunk.search_text)
        for candidate in best
    ]
    return max(found, default=0.0) / total if total else 0.0


def _weight(term: str, texts: Sequence[str]) -> float:
    return _rarity(term, texts) if is_common(term) else max(_rarity(term, texts), LEAST_WEIGHT)


def _rarity(term: str, texts: Sequence[str]) -> float:
    """The inverse document frequency, as in BM25."""
    part = stem(term)
    among = BACKGROUND_TEXTS + len(texts)
    having = COMMON_SHARE * BACKGROUND_TEXTS * is_common(term) + sum(part in text for text in texts)
    return math.log1p((among - having + 0.5) / (having + 0.5))
