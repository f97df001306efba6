import subprocess
import sys
import tracemalloc
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.application.ports.embedder import Embedder
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.testing.contracts.embedder import EmbedderContract, cosine, length


@pytest.fixture
def embedder() -> Embedder:
    return HashEmbedder()


class TestHashEmbedder(EmbedderContract):
    pass


async def similarity(one: str, other: str) -> float:
    vectors = (await HashEmbedder().embed_document([one, other])).vectors
    return cosine(vectors[0], vectors[1])


async def test_other_forms_of_a_word_are_near_and_other_words_far() -> None:
    assert await similarity("running", "runner") > 0.2
    assert await similarity("retrieval", "retreival") > 0.2
    assert abs(await similarity("running", "quantum")) < 0.15


async def test_chinese_needs_no_blanks() -> None:
    assert await similarity("不可抗力条款", "什么是不可抗力") > 0.5
    assert abs(await similarity("不可抗力条款", "今天天气")) < 0.15


async def test_of_a_large_document_no_more_is_kept_than_its_vectors() -> None:
    """What is found in a text is larger than its vector."""
    embedder = HashEmbedder()
    words = [f"{number * 2654435761 % 2**32:08x}" for number in range(500)]
    texts = [" ".join(words[number : number + 300]) for number in range(200)]
    await embedder.embed_document(texts)  # numpy, and the words' cache

    tracemalloc.start()
    try:
        vectors = (await embedder.embed_document(texts)).vectors
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert sum(map(len, vectors)) == 200 * 4096
    assert most < 4 * 2**20, most


async def test_rare_words_count_more_once_the_corpus_is_known() -> None:
    embedder = HashEmbedder()
    common = [f"the report of the year number {number}" for number in range(50)]
    embedded = await embedder.embed_document([*common, "the zebra"])
    assert embedded.statistics is not None
    corpus = embedder.summarise([embedded.statistics])
    frequent, rare = embedded.vectors[0], embedded.vectors[-1]

    before = await embedder.embed_query("the report of the zebra")
    after = await embedder.embed_query("the report of the zebra", corpus)

    assert cosine(before, frequent) > cosine(after, frequent)
    assert cosine(after, rare) > cosine(before, rare)


async def test_statistics_add_up_in_any_order() -> None:
    embedder = HashEmbedder()
    statistics = [
        (await embedder.embed_document(texts)).statistics for texts in (["a fox", "a dog"], ["a cat"], [], [""])
    ]
    known = [one for one in statistics if one is not None]

    assert embedder.summarise(known) == embedder.summarise(known[::-1])
    assert len(embedder.summarise([])) == len(embedder.summarise(known))


async def test_statistics_stay_small_however_long_the_document_is() -> None:
    long = [f"chunk {number} says {number * 7919} and {number * 104729}" * 20 for number in range(2000)]

    statistics = (await HashEmbedder().embed_document(long)).statistics

    assert statistics is not None
    assert len(statistics) < 200_000


def test_vectors_are_the_same_in_every_process() -> None:
    program = (
        "import asyncio, zlib; from llm_backend.infrastructure.embedding.hashing import HashEmbedder; "
        "print(zlib.crc32(asyncio.run(HashEmbedder().embed_query('the fox 不可抗力'))))"
    )

    printed = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }

    assert len(printed) == 1


@given(st.text())
async def test_any_text_has_a_vector(text: str) -> None:
    vector = await HashEmbedder().embed_query(text)

    assert len(array("f", vector)) == 1024
    assert not any(vector) or length(vector) == pytest.approx(1.0, abs=1e-4)
