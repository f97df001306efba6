"""Markers are taken out of an answer, however it is chopped, and citations find their places in what is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.citations import Place, Source, cited
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.markers import Unmarked, unmarked

NUMBERS = {1, 2}
WATER = "Water boils at one hundred degrees at sea level. Ice melts at zero degrees."
SOURCE = Source(
    number=1,
    document=DocumentId("d"),
    document_name="d.txt",
    start=100,
    text=WATER,
    places=(Place(start=100),),
    verified=True,
)


def chopped(pieces: list[str]) -> tuple[Unmarked, str]:
    """What is known in the end, and what was told on the way."""
    text = Unmarked(NUMBERS)
    told = "".join([*map(text.feed, pieces), text.finish()])
    return text, told


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("It holds [1].", "It holds."),
        ("One [1]. Two [2].", "One. Two."),
        ("Both [1][2], [1, 9] and [1-2]", "Both, and"),
        ("成立【1】。其他［2］", "成立。其他"),
        ("None [7] [x] [ 【", "None [7] [x] [ 【"),
        ("[1]", ""),
        ("Code `a[1]` and [1] `open [2]", "Code `a[1]` and `open"),
        ("```\na[1]\n``` [1]", "```\na[1]\n```"),
        ("```a[1]", "```a[1]"),
        ("`` [1] `", "`` `"),
        ("", ""),
    ],
)
def test_markers_go_and_everything_else_stays(said: str, shown: str) -> None:
    assert unmarked(said, NUMBERS).text == shown


def test_without_sources_nothing_is_held_back() -> None:
    text = Unmarked(())

    assert [text.feed(piece) for piece in ("a [", "1", "] ")] == ["a [", "1", "] "]


def test_citations_find_their_places_and_their_words() -> None:
    said = "Hello [1]. Water boils at one hundred degrees [1]. And ice melts at zero degrees [1]!"
    text = unmarked(said, NUMBERS)

    found = text.annotations(cited(said, [SOURCE]))

    assert [text.text[one.start : one.end] for one in found][1:] == [
        "Water boils at one hundred degrees",
        "And ice melts at zero degrees",
    ]
    assert found[-1].quote == "Ice melts at zero degrees."


@given(st.lists(st.text(alphabet="a .[]12\n。7`-【】", max_size=6), max_size=14))
def test_how_it_is_chopped_makes_no_difference(pieces: list[str]) -> None:
    text, told = chopped(pieces)
    whole = unmarked("".join(pieces), NUMBERS)

    assert told == text.text == whole.text
    assert text.raw == "".join(pieces)
