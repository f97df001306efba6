"""Texts as bags of hashed character sequences: the arithmetic of `HashEmbedder`, apart because it needs numpy."""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint32]
Floats = NDArray[np.float32]

BUCKETS = 1 << 16  # of a corpus summary; a rare word that shares one with a frequent word is taken for frequent
BACKGROUND_TEXTS = 20  # that have nothing in them: in a corpus of two texts, each word would be in half of all
SAMPLED_TEXTS = 16  # of one document that enter its statistics

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(rf"(?P<cjk>[{_CJK}]+)|[^\W_{_CJK}]+")
_LONGEST_WORD = 64  # characters; what is longer is no word


def features(text: str) -> tuple[Hashes, NDArray[np.intp]]:
    """The features of a folded text, each once, with how often it occurs."""
    parts = [_cjk(run.group()) if run["cjk"] else _word(run.group()[:_LONGEST_WORD]) for run in _RUN.finditer(text)]
    every = np.concatenate(parts) if parts else np.empty(0, np.uint32)
    return np.unique(every, return_counts=True)


def vector(found: Hashes, weights: NDArray[np.float64], dimensions: int) -> Floats:
    """Features thrown into `dimensions` buckets with a sign each, so that collisions cancel out on average."""
    signs = np.where(found >> 31, 1.0, -1.0)
    thrown = np.bincount(found % dimensions, weights=weights * signs, minlength=dimensions)
    length = float(np.linalg.norm(thrown))
    return (thrown / length if length else thrown).astype("<f4")


def damped(counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Twice as often is not twice as much."""
    weights: NDArray[np.float64] = 1.0 + np.log(counts)
    return weights


def sampled(texts: int) -> range:
    """Which of so many texts of a document enter its statistics."""
    return range(0, texts, max(-(-texts // SAMPLED_TEXTS), 1))


def document_statistics(sample: Sequence[Hashes]) -> bytes:
    """How many of these texts have something in each bucket."""
    buckets = [np.unique(hashes % BUCKETS) for hashes in sample]
    used, counts = np.unique(np.concatenate(buckets), return_counts=True) if buckets else (np.empty(0), np.empty(0))
    head = np.array([len(sample)], "<u4").tobytes()
    return head + counts.astype("u1").tobytes() + used.astype("<u2").tobytes()


def corpus_summary(statistics: Sequence[bytes]) -> bytes:
    """The statistics of many documents added up: the number of texts, then one count per bucket."""
    total = sum(int.from_bytes(one[:4], "little") for one in statistics)
    parts = [_unpacked(one) for one in statistics]
    used = np.concatenate([buckets for buckets, _ in parts]) if parts else np.empty(0, np.intp)
    counts = np.concatenate([having for _, having in parts]) if parts else np.empty(0)
    summed = np.bincount(used, weights=counts, minlength=BUCKETS)
    return np.array([total], "<u4").tobytes() + summed.astype("<u4").tobytes()


def rarity(found: Hashes, summary: bytes) -> NDArray[np.float64]:
    """The inverse document frequency of each feature, as in BM25, in the corpus and the background texts together."""
    total = BACKGROUND_TEXTS + int.from_bytes(summary[:4], "little")
    having = np.frombuffer(summary, "<u4", offset=4)[found % BUCKETS]
    weights: NDArray[np.float64] = np.log1p((total - having + 0.5) / (having + 0.5))
    return weights


def _unpacked(statistics: bytes) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    used = (len(statistics) - 4) // 3
    return np.frombuffer(statistics, "<u2", offset=4 + used), np.frombuffer(statistics, "u1", count=used, offset=4)


def _hash(text: str) -> int:
    return zlib.crc32(text.encode(errors="surrogatepass"))


@lru_cache(maxsize=1 << 15)  # few words make up most of any text
def _word(word: str) -> Hashes:
    """The word itself, and its sequences of three and four characters, which its relatives share."""
    edged = f"<{word}>"
    grams = [edged[i : i + size] for size in (3, 4) for i in range(len(edged) - size + 1)]
    return np.array([_hash(f"={word}"), *map(_hash, grams)], np.uint32)


def _cjk(run: str) -> Hashes:
    """Single characters and pairs: nothing shows where words end."""
    return np.array([*map(_hash, run), *(_hash(first + second) for first, second in pairwise(run))], np.uint32)
