"""Folding: spelling variants meet, and folding twice changes nothing."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.application.ports.folding import Folding
from llm_backend.infrastructure.text.folding import OpenCcFolding

FOLD: Folding = OpenCcFolding()
TRADITIONAL = st.text(alphabet=st.characters(min_codepoint=0x3400, max_codepoint=0x9FFF), max_size=30)


@pytest.mark.parametrize(
    ("variant", "folded"),
    [
        ("機器學習與資料庫", "机器学习与资料库"),
        ("ＡＢＣ１２３", "abc123"),
        ("Straße ﬁle", "straße file"),
        ("ÉCOLE", "école"),
        ("e\u0301", "é"),
        ("㍿", "株式会社"),
        ("plain ascii, 1,234.50", "plain ascii, 1,234.50"),
        ("nul\x00中間", "nul\x00中间"),
        ("", ""),
    ],
)
def test_variants_become_one(variant: str, folded: str) -> None:
    assert FOLD(variant) == folded


@pytest.mark.parametrize("stubborn", ["薴", "İ", "ϓ"])
def test_what_one_round_leaves_unfinished_is_finished(stubborn: str) -> None:
    assert FOLD(FOLD(stubborn)) == FOLD(stubborn)


@given(st.one_of(TRADITIONAL, st.text(alphabet=st.characters(codec="utf-8"))))
def test_folding_twice_changes_nothing(text: str) -> None:
    folded = FOLD(text)

    assert FOLD(folded) == folded


def test_one_folding_serves_many_threads() -> None:
    folding = OpenCcFolding()

    with ThreadPoolExecutor(8) as threads:
        folded = set(threads.map(folding, ["漢語與軟體 " * 1000] * 64))

    assert folded == {"汉语与软体 " * 1000}
