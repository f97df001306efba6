"""What the parts of a score should count for: other weights against those of the product, by paired bootstrap.

    python -m benchmarks.ranking FOLDER [FOLDER ...]

Each folder is a collection as `llm-backend eval retrieval` takes it. Its documents go through the product once; what
each question finds is then put into order with all sets of weights.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from llm_backend import Settings, open_backend
from llm_backend.application.evaluating import Collection, EvaluateRetrieval
from llm_backend.application.retrieval import Retrieve
from llm_backend.domain.knowledge import Found, Passage, ScoreParts
from llm_backend.domain.measures import compared, estimated, ndcg
from llm_backend.domain.ranking import BM25_SHARE, PAIRS_SHARE, WORDS_SHARE
from llm_backend.infrastructure.collections.folder import read_collection
from llm_backend.infrastructure.embedding.hashing import HashEmbedder

DEPTH = 100  # passages that are put into another order


class Weights(NamedTuple):
    """Of the full-text score relative to the best, the cosine, the words and the pairs of words."""

    bm25: float
    cosine: float
    words: float
    pairs: float

    def score(self, parts: ScoreParts, highest: float) -> float:
        values = (parts.bm25 / highest, max(parts.cosine, 0.0), parts.words, parts.pairs)
        return sum(weight * value for weight, value in zip(self, values, strict=True))


def of_text(cosine: float, *shares: float) -> Weights:
    """The cosine's weight, and how the rest is divided."""
    bm25, words, pairs = ((1 - cosine) * share for share in shares)
    return Weights(bm25, cosine, words, pairs)


NOW = of_text(HashEmbedder().cosine_weight, BM25_SHARE, WORDS_SHARE, PAIRS_SHARE)
OTHERS = {
    "bm25 alone": Weights(1, 0, 0, 0),
    "cosine alone": Weights(0, 1, 0, 0),
    "bm25 .7, cosine .3": Weights(0.7, 0.3, 0, 0),
    "bm25 .6, cosine .4": Weights(0.6, 0.4, 0, 0),
    "bm25 .5, cosine .5": Weights(0.5, 0.5, 0, 0),
    "text alone": of_text(0, BM25_SHARE, WORDS_SHARE, PAIRS_SHARE),
    "cosine .3": of_text(0.3, BM25_SHARE, WORDS_SHARE, PAIRS_SHARE),
    "cosine .5": of_text(0.5, BM25_SHARE, WORDS_SHARE, PAIRS_SHARE),
    "no pairs": of_text(0.4, 0.77, 0.23, 0),
    "no words": of_text(0.4, 0.77, 0, 0.23),
    "words and pairs .15 each": of_text(0.4, 0.7, 0.15, 0.15),
    "words and pairs .33 each": of_text(0.4, 0.34, 0.33, 0.33),
}


@dataclass
class Keeping:
    """Searches, and keeps what is found with all parts of its score."""

    retrieve: Retrieve
    found: list[Sequence[Passage]] = field(default_factory=list)

    async def __call__(self, *arguments: Any, top_k: int) -> Found:
        found = await self.retrieve(*arguments, top_k=max(top_k, DEPTH), explain=True, threshold=0)
        self.found.append(found.passages)
        return found


async def searched(collection: Collection) -> list[Sequence[Passage]]:
    with TemporaryDirectory(prefix="llm-backend-bench-") as folder:
        async with open_backend(Settings(data_folder=Path(folder))) as backend:
            owner = await backend.register_user("measured", "a password for nobody")
            keeping = Keeping(backend.retrieve)
            evaluate = EvaluateRetrieval(backend.create_knowledge_base, backend.upload_document, keeping)  # type: ignore[arg-type]
            await evaluate(owner, collection, lambda *_: None)
            return keeping.found


def measured(collection: Collection, found: Sequence[Sequence[Passage]], weights: Weights) -> list[float]:
    """nDCG@10 of each question."""
    return [
        ndcg(_ranking(collection, passages, weights), query.grades, 10)
        for query, passages in zip(collection.queries, found, strict=True)
    ]


def _ranking(collection: Collection, passages: Sequence[Passage], weights: Weights) -> list[str]:
    highest = max((passage.parts.bm25 for passage in passages), default=0.0) or 1.0
    ordered = sorted(passages, key=lambda passage: -weights.score(passage.parts, highest))
    return list(dict.fromkeys(_name(collection, passage) for passage in ordered))


def _name(collection: Collection, passage: Passage) -> str:
    """Files are called by their number in the collection."""
    return collection.documents[int(passage.document_name.removesuffix(".md"))].id


def report(collection: Collection, now: Sequence[float], others: Mapping[str, Sequence[float]]) -> str:
    lines = [f"{collection.name}: {estimated(now).mean:.4f} with {tuple(round(each, 2) for each in NOW)}"]
    for name, values in others.items():
        difference = compared(now, values)
        bounds = f"[{difference.estimate.low:+.4f}, {difference.estimate.high:+.4f}]"
        lines.append(f"  {name:<26} {estimated(values).mean:.4f}  {difference.estimate.mean:+.4f} {bounds}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    for folder in parser.parse_args().folders:
        collection = read_collection(folder)
        found = asyncio.run(searched(collection))
        others = {name: measured(collection, found, weights) for name, weights in OTHERS.items()}
        print(report(collection, measured(collection, found, NOW), others), flush=True)


if __name__ == "__main__":
    main()
